// Boxes as lines: solid is true, broken is predicted; malignant is broad, benign is narrow; colour comes on top.

const ORANGE = "#ff8c3c", BLUE = "#64beff", YELLOW = "#f0e442", GREEN = "#3ddc97", PINK = "#ff9ad5";
const OTHERS = [YELLOW, GREEN, PINK, BLUE, ORANGE];

function classStyle(data, category) {
  if (data.judged && category === MALIGNANT) return { colour: ORANGE, width: 3, dash: [11, 5] };
  if (data.judged && category === BENIGN) return { colour: BLUE, width: 1.75, dash: [3, 4] };
  const number = Math.max(0, Object.keys(data.categories).indexOf(String(category)));
  return { colour: OTHERS[number % OTHERS.length], width: 1.5 + (number % 3), dash: [3 + 4 * (number % 3), 4] };
}

// What is drawn of an image at a threshold, the least sure first so that the surest lie on top.
function boxesToDraw(judge, now, image, { truth = true, predictions = true } = {}) {
  const { data } = judge, { lesions, boxes } = data, list = [];
  const one = now.images[image];
  if (truth) {
    for (const n of judge.lesionsOf[image]) {
      const state = lesions.ignored[n] ? "ignored" : one.found.has(n) ? "found" : one.missed.includes(n) ? "missed" : "";
      const style = lesions.ignored[n] ? { colour: YELLOW, width: 1.5, dash: [] } : classStyle(data, lesions.category[n]);
      list.push({ kind: "truth", n, state, style: { ...style, dash: [] }, name: data.categories[lesions.category[n]], ...rectangle(lesions, n) });
    }
  }
  if (predictions) {
    for (const n of judge.boxesOf[image]) {
      if (!(boxes.score[n] >= now.threshold)) break;
      list.push({
        kind: "prediction", n, state: stateOf(judge, now, n), score: boxes.score[n],
        style: classStyle(data, boxes.category[n]), name: data.categories[boxes.category[n]],
        faint: data.judged && judge.suppressed(n, now.threshold), ...rectangle(boxes, n),
      });
    }
  }
  return list.reverse();
}

function stateOf(judge, now, box) {
  const what = now.rule.found[box];
  if (what >= 0) return "hit";
  if (what === FALSE_POSITIVE) return "false positive";
  return what === OTHER_CLASS ? "" : "double or ignored";
}

function rectangle(columns, n) {
  return { x: columns.x[n], y: columns.y[n], w: columns.w[n], h: columns.h[n] };
}

function boxLabel(box) {
  const parts = [box.kind === "prediction" ? `${box.name} ${box.score.toFixed(2)}` : box.name];
  if (box.state) parts.push(box.state);
  if (box.faint) parts.push("suppressed");
  return parts.join(", ");
}

// For thumbnails: an SVG in the frame of the image, whose lines keep their width when it is scaled.
function boxesAsSvg(image, boxes) {
  const svg = drawn("svg", { viewBox: `0 0 ${image.width} ${image.height}`, "aria-hidden": "true", preserveAspectRatio: "xMidYMid meet" });
  const least = Math.max(image.width, image.height) / 40; // a smaller frame could not be seen at 256 px
  for (const box of boxes.slice(-80)) {
    const w = Math.max(box.w, least), h = Math.max(box.h, least);
    const place = { x: box.x - (w - box.w) / 2, y: box.y - (h - box.h) / 2, width: w, height: h };
    svg.append(drawn("rect", { ...place, class: "halo" }));
    svg.append(drawn("rect", {
      ...place, stroke: box.style.colour, "stroke-width": Math.min(box.style.width, 2.2),
      "stroke-dasharray": box.style.dash.map((n) => n / 2 + 0.5).join(" "), opacity: box.faint ? 0.5 : 1,
    }));
  }
  return svg;
}

// For the full-size view: a canvas in CSS pixels; boxes stay as thin at every zoom.
function drawBoxes(context, camera, boxes, labels, selected) {
  const taken = [];
  for (const box of boxes) {
    const [x, y] = camera.toScreen(box.x, box.y);
    const w = box.w * camera.scale, h = box.h * camera.scale;
    context.globalAlpha = box.faint ? 0.5 : 1;
    context.setLineDash([]);
    context.strokeStyle = "rgb(0 0 0 / 55%)"; // a halo, for bright tissue
    context.lineWidth = box.style.width + 2;
    context.strokeRect(x, y, w, h);
    context.setLineDash(box.style.dash);
    context.strokeStyle = box.style.colour;
    context.lineWidth = box.style.width + (box === selected ? 2 : 0);
    context.strokeRect(x, y, w, h);
  }
  context.setLineDash([]);
  context.globalAlpha = 1;
  // The surest come last in the list and choose their place first.
  if (labels) for (const box of [...boxes].reverse()) drawLabel(context, camera, box, taken);
}

function drawLabel(context, camera, box, taken) {
  const text = boxLabel(box), height = 19;
  context.font = "600 12.5px system-ui, sans-serif";
  const width = context.measureText(text).width + 10;
  const [x, y] = camera.toScreen(box.x, box.y), below = y + box.h * camera.scale;
  const left = Math.min(Math.max(x - 2, 2), camera.width - width - 2);
  const spots = box.kind === "truth" ? [below + 3, y - height - 3] : [y - height - 3, below + 3];
  if (x > camera.width || x + box.w * camera.scale < 0 || y > camera.height || below < 0) return;
  const free = spots.map((top) => Math.min(Math.max(top, 2), camera.height - height - 2)).find((top) =>
    taken.every((t) => left + width < t.left || t.left + t.width < left || top + height < t.top || t.top + height < top));
  if (free === undefined) return; // no room: the list beside the picture has it
  taken.push({ left, top: free, width });
  context.fillStyle = "rgb(12 14 18 / 82%)";
  context.fillRect(left, free, width, height);
  context.fillStyle = box.style.colour;
  context.fillText(text, left + 5, free + 13.5);
}
