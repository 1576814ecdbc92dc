// Wheel, drag and pinch on the canvas.
class Gestures {
  constructor(canvas, camera, redraw) {
    Object.assign(this, { canvas, camera, redraw, pointers: new Map() });
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (event) => this.up(event));
    canvas.addEventListener("dblclick", (event) => {
      camera.zoomAt(2, event.offsetX, event.offsetY);
      redraw();
    });
  }

  wheel(event) {
    event.preventDefault();
    // A pinch on a touchpad comes as a wheel with Ctrl and small steps; lines come in place of pixels.
    const step = event.deltaY * (event.deltaMode === 1 ? 16 : 1) * (event.ctrlKey ? 6 : 1);
    this.camera.zoomAt(Math.exp(-step * 0.0016), event.offsetX, event.offsetY);
    this.redraw();
  }

  down(event) {
    this.canvas.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, [event.offsetX, event.offsetY]);
  }

  move(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    const other = [...this.pointers].find(([id]) => id !== event.pointerId)?.[1];
    const now = [event.offsetX, event.offsetY];
    if (other) {
      const apart = (point) => Math.hypot(point[0] - other[0], point[1] - other[1]) || 1;
      this.camera.zoomAt(apart(now) / apart(before), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
      this.camera.pan((now[0] - before[0]) / 2, (now[1] - before[1]) / 2);
    } else this.camera.pan(now[0] - before[0], now[1] - before[1]);
    this.pointers.set(event.pointerId, now);
    this.redraw();
  }

  up(event) {
    this.pointers.delete(event.pointerId);
  }
}
