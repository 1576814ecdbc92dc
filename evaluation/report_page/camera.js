// Where the image lies on the screen: a point (x, y) of the image is drawn at (x * scale + left, y * scale + top).

const MOST_ZOOM = 24;

class Camera {
  constructor() {
    Object.assign(this, { scale: 1, left: 0, top: 0, width: 1, height: 1, imageWidth: 1, imageHeight: 1 });
    this.fitted = true; // stays the whole image when the window changes its size
  }

  resize(width, height) {
    const [x, y] = this.toImage(this.width / 2, this.height / 2);
    Object.assign(this, { width, height });
    if (this.fitted) this.fit();
    else this.centre(x, y);
  }

  open(imageWidth, imageHeight) {
    Object.assign(this, { imageWidth, imageHeight });
    this.fit();
  }

  get fitScale() {
    return Math.min((this.width - 16) / this.imageWidth, (this.height - 16) / this.imageHeight);
  }

  fit() {
    this.scale = Math.max(this.fitScale, 1e-3);
    this.centre(this.imageWidth / 2, this.imageHeight / 2);
    this.fitted = true;
  }

  centre(x, y) {
    this.left = this.width / 2 - x * this.scale;
    this.top = this.height / 2 - y * this.scale;
    this.keepInSight();
  }

  pan(across, down) {
    this.fitted = false;
    this.left += across;
    this.top += down;
    this.keepInSight();
  }

  // The point of the image below (x, y) stays there.
  zoomAt(factor, x = this.width / 2, y = this.height / 2) {
    const least = Math.min(this.fitScale, 1) / 2, most = Math.max(MOST_ZOOM, this.fitScale);
    const scale = Math.min(Math.max(this.scale * factor, least), most);
    const [imageX, imageY] = this.toImage(x, y);
    this.fitted = false;
    this.scale = scale;
    this.left = x - imageX * scale;
    this.top = y - imageY * scale;
    this.keepInSight();
  }

  showBox(box) {
    const room = 5; // how many times as wide as the box
    const wanted = Math.min(this.width / (box.w * room), this.height / (box.h * room));
    this.scale = Math.min(Math.max(wanted, this.fitScale), 8);
    this.fitted = false;
    this.centre(box.x + box.w / 2, box.y + box.h / 2);
  }

  // The middle of the window never leaves the image.
  keepInSight() {
    const [x, y] = this.toImage(this.width / 2, this.height / 2);
    this.left -= (Math.min(Math.max(x, 0), this.imageWidth) - x) * this.scale;
    this.top -= (Math.min(Math.max(y, 0), this.imageHeight) - y) * this.scale;
  }

  toScreen(x, y) {
    return [x * this.scale + this.left, y * this.scale + this.top];
  }

  toImage(x, y) {
    return [(x - this.left) / this.scale, (y - this.top) / this.scale];
  }
}
