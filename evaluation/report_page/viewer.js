// The full-size view: one canvas, drawn anew for every change.

const PAN_PX = 60, ZOOM_STEP = 1.3;

class Viewer {
  // page: { judge, now(), setThreshold(number), closed(image) }
  constructor(page) {
    this.page = page;
    this.camera = new Camera();
    this.show = { truth: true, predictions: true, labels: true };
    this.pictures = new Map(); // divisor -> file and bitmap, of the open image alone: the others are let go
    this.canvas = byId("canvas");
    this.dialog = byId("full");
    this.context = this.canvas.getContext("2d", { alpha: false });
    this.listen();
  }

  get image() {
    return this.order[this.place];
  }

  open(order, place) {
    this.order = order; // stays as it is while the view is open, whatever the threshold does to the gallery
    if (!this.dialog.open) this.dialog.showModal();
    this.goTo(place);
    this.canvas.focus({ preventScroll: true });
  }

  goTo(place) {
    if (place < 0 || place >= this.order.length) return;
    this.place = place;
    this.selected = null;
    this.letGo();
    const record = this.page.judge.data.images[this.image];
    this.fitCanvas();
    this.camera.open(record.width, record.height);
    byId("full-name").textContent = record.name;
    byId("full-place").textContent = `${place + 1} / ${this.order.length}`;
    byId("full-back").disabled = place === 0;
    byId("full-on").disabled = place === this.order.length - 1;
    byId("full-problem").hidden = Boolean(record.levels);
    byId("full-problem").textContent = record.problem ? `No picture: ${record.problem}.` : "No picture was read; see --images.";
    this.facts(record);
    this.update();
  }

  facts(record) {
    const shownFacts = { Patient: record.patient, View: record.view, Truth: record.truth ?? "unknown",
      Size: `${record.width} × ${record.height} px`, Manufacturer: record.manufacturer, "Image id": record.id };
    byId("full-facts").replaceChildren(...Object.entries(shownFacts).filter(([, value]) => value)
      .map(([name, value]) => element("div", {}, element("dt", { text: name }), element("dd", { text: value }))));
  }

  // What depends on the threshold, the rule or the switches.
  update() {
    if (!this.dialog.open) return;
    const { judge } = this.page, now = this.page.now(), one = now.images[this.image];
    this.boxes = boxesToDraw(judge, now, this.image, this.show);
    byId("full-outcome").textContent = this.outcome(one);
    byId("full-threshold").value = now.threshold;
    byId("full-threshold-number").textContent = String(Number(now.threshold.toFixed(4)));
    for (const name of ["truth", "predictions", "labels"]) byId(`show-${name}`).setAttribute("aria-pressed", this.show[name]);
    this.listBoxes();
    this.canvas.setAttribute("aria-label", `${byId("full-name").textContent}: ${byId("full-outcome").textContent}`);
    this.draw();
  }

  outcome(one) {
    const verdict = one.outcome && `Image: ${OUTCOMES[one.outcome].toLowerCase()}, malignancy score ${shown(one.verdictScore)}`;
    if (this.page.judge.data.scored) return `${verdict}.`;
    const lesions = one.found.size + one.missed.length;
    const said = [lesions ? `${one.found.size} of ${plural(lesions, "lesion")} found` : "No lesion",
      plural(one.falsePositives, "false positive box", "false positive boxes")];
    if (verdict) said.unshift(verdict);
    return `${said.join(". ")}.`;
  }

  listBoxes() {
    const items = [...this.boxes].reverse().slice(0, 200).map((box) => {
      const button = element("button", { type: "button" }, lineSample(box.style, box.kind === "prediction"), boxLabel(box));
      button.addEventListener("click", () => {
        this.selected = box;
        this.camera.showBox(box);
        this.draw();
      });
      return element("li", { class: box.kind }, button);
    });
    const list = byId("full-boxes"), held = [...list.querySelectorAll("button")].indexOf(document.activeElement);
    list.replaceChildren(...(items.length ? items : [element("li", { class: "soft", text: "none" })]));
    // A button that goes away takes the focus with it, and the keys would go nowhere.
    if (held >= 0) (list.querySelectorAll("button")[held] ?? this.canvas).focus({ preventScroll: true });
  }

  toggle(name) {
    this.show[name] = !this.show[name];
    this.update();
  }

  draw() {
    if (this.drawing) return; // once per frame, however many events came
    this.drawing = requestAnimationFrame(() => {
      this.drawing = null;
      this.drawNow();
    });
  }

  drawNow() {
    const { context, camera } = this, ratio = this.ratio;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.fillStyle = "#000";
    context.fillRect(0, 0, camera.width, camera.height);
    const width = camera.imageWidth * camera.scale, height = camera.imageHeight * camera.scale;
    const picture = this.picture();
    if (picture) {
      // From two screen pixels per pixel on, show the pixels themselves and no blur between them.
      context.imageSmoothingEnabled = camera.scale * ratio < 2;
      context.imageSmoothingQuality = "high";
      context.drawImage(picture, camera.left, camera.top, width, height);
    } else {
      context.fillStyle = "#3a3d42";
      context.fillRect(camera.left, camera.top, width, height);
    }
    drawBoxes(context, camera, this.boxes, this.show.labels, this.selected);
    byId("zoom").textContent = `${Math.round(camera.scale * 100)} %`;
    // For tests and for whoever scripts the page: where the image lies.
    Object.assign(this.canvas.dataset, { scale: camera.scale, left: camera.left, top: camera.top,
      ready: picture && this.isSharp ? "yes" : "no" });
  }

  // The smallest level that has a pixel for every screen pixel; until it is there, whatever is.
  picture() {
    const levels = this.page.judge.data.images[this.image].levels ?? [];
    const needed = this.camera.scale * this.ratio;
    const fitting = levels.filter(([divisor]) => 1 / divisor >= needed * 0.999);
    const wanted = fitting.length ? fitting.at(-1) : levels[0];
    if (!wanted) {
      this.isSharp = true;
      return null;
    }
    const best = this.load(wanted);
    this.isSharp = Boolean(best.bitmap);
    return best.bitmap ?? [...this.pictures.values()].find((one) => one.bitmap)?.bitmap ?? this.preview();
  }

  load([divisor, source]) {
    let picture = this.pictures.get(divisor);
    if (!picture) {
      picture = { file: new Image(), bitmap: null };
      this.pictures.set(divisor, picture);
      picture.file.onload = () => this.arrived(divisor, picture);
      picture.file.onerror = () => this.failed(divisor, picture);
      picture.file.src = source;
    }
    return picture;
  }

  // A bitmap of our own can be closed; what is decoded for an image element the browser keeps, up to 600 MB.
  async arrived(divisor, picture) {
    // Where a browser makes no bitmap of a file beside the page, the element itself is drawn.
    const bitmap = await createImageBitmap(picture.file).catch(() => picture.file);
    if (bitmap !== picture.file) picture.file.removeAttribute("src");
    if (this.pictures.get(divisor) !== picture) bitmap.close?.(); // another image is open by now
    else {
      picture.bitmap = bitmap;
      this.draw();
    }
  }

  failed(divisor, picture) {
    if (this.pictures.get(divisor) !== picture) return;
    byId("full-problem").hidden = false;
    byId("full-problem").textContent = "The picture cannot be loaded: keep the folder report_images beside this page.";
  }

  letGo() {
    for (const picture of this.pictures.values()) picture.bitmap?.close?.();
    this.pictures.clear();
  }

  preview() {
    const { thumbnail } = this.page.judge.data.images[this.image];
    if (!thumbnail) return null;
    return this.load([0, thumbnail]).bitmap;
  }

  fitCanvas() {
    const { clientWidth, clientHeight } = this.canvas.parentElement;
    this.ratio = window.devicePixelRatio || 1;
    this.canvas.width = Math.max(1, Math.round(clientWidth * this.ratio));
    this.canvas.height = Math.max(1, Math.round(clientHeight * this.ratio));
    this.camera.resize(Math.max(clientWidth, 1), Math.max(clientHeight, 1));
  }

  listen() {
    const on = (id, action) => byId(id).addEventListener("click", action);
    on("full-close", () => this.dialog.close());
    on("full-back", () => this.goTo(this.place - 1));
    on("full-on", () => this.goTo(this.place + 1));
    for (const [id, key] of [["zoom-in", "+"], ["zoom-out", "-"], ["zoom-fit", "0"], ["zoom-one", "1"],
      ["show-truth", "t"], ["show-predictions", "p"], ["show-labels", "l"]]) on(id, () => this.keys[key]());
    byId("full-threshold").addEventListener("input", (event) => this.page.setThreshold(Number(event.target.value)));
    this.dialog.addEventListener("close", () => {
      this.letGo();
      this.page.closed(this.image);
    });
    this.dialog.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => {
      if (!this.dialog.open) return;
      this.fitCanvas();
      this.drawNow();
    }).observe(this.canvas.parentElement);
    new Gestures(this.canvas, this.camera, () => this.draw());
  }

  get keys() {
    const { camera } = this;
    const moved = (action) => () => {
      action();
      this.draw();
    };
    const further = { next: () => this.goTo(this.place + 1), back: () => this.goTo(this.place - 1) };
    return {
      "+": moved(() => camera.zoomAt(ZOOM_STEP)), "=": moved(() => camera.zoomAt(ZOOM_STEP)),
      "-": moved(() => camera.zoomAt(1 / ZOOM_STEP)), 0: moved(() => camera.fit()),
      1: moved(() => camera.zoomAt(1 / this.ratio / camera.scale)),
      ArrowLeft: moved(() => camera.pan(PAN_PX, 0)), ArrowRight: moved(() => camera.pan(-PAN_PX, 0)),
      ArrowUp: moved(() => camera.pan(0, PAN_PX)), ArrowDown: moved(() => camera.pan(0, -PAN_PX)),
      t: () => this.toggle("truth"), p: () => this.toggle("predictions"), l: () => this.toggle("labels"),
      n: further.next, b: further.back, PageDown: further.next, PageUp: further.back,
    };
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    // A slider has its own use for arrows and pages.
    if (event.target.matches("input") && /^(Arrow|Page)/.test(event.key)) return;
    const action = this.keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!action) return;
    event.preventDefault();
    action();
  }
}

function lineSample(style, broken) {
  const svg = drawn("svg", { viewBox: "0 0 34 10", class: "sample", "aria-hidden": "true" });
  svg.append(drawn("line", { x1: 1, x2: 33, y1: 5, y2: 5, stroke: style.colour, "stroke-width": style.width,
    "stroke-dasharray": broken ? style.dash.join(" ") : "none" }));
  return svg;
}
