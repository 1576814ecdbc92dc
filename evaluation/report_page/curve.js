// A small FROC curve of the chosen rule, with the point of the threshold on it.

const CURVE = { width: 330, height: 190, left: 40, right: 10, top: 10, bottom: 34, first: 1 / 16, last: 16 };

function curveX(falsePositives) {
  const { width, left, right, first, last } = CURVE;
  const share = Math.log(Math.min(Math.max(falsePositives, first), last) / first) / Math.log(last / first);
  return left + share * (width - left - right);
}

function curveY(sensitivity) {
  return CURVE.height - CURVE.bottom - sensitivity * (CURVE.height - CURVE.top - CURVE.bottom);
}

// Every threshold is a point; equal scores stand or fall together.
function frocPoints(data, rule) {
  const { score, image } = data.boxes, lesions = rule.lesions.length;
  if (!lesions || !rule.units) return [];
  const order = score.map((_, n) => n).filter((n) => rule.found[n] >= 0 || rule.found[n] === FALSE_POSITIVE).sort((a, b) => score[b] - score[a]);
  const points = [[0, 0]];
  let found = 0, wrong = 0;
  order.forEach((n, place) => {
    if (rule.found[n] >= 0) found += 1;
    else if (!rule.counted || rule.counted[image[n]]) wrong += 1;
    if (place + 1 === order.length || score[order[place + 1]] !== score[n]) points.push([wrong / rule.units, found / lesions]);
  });
  return points;
}

function drawCurve(svg, data, rule) {
  const { width, height, left, bottom } = CURVE;
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const parts = [];
  for (const tick of [0, 0.5, 1]) {
    parts.push(drawn("line", { class: "grid", x1: left, x2: width - CURVE.right, y1: curveY(tick), y2: curveY(tick) }));
    parts.push(drawn("text", { x: left - 6, y: curveY(tick) + 4, "text-anchor": "end" }, String(tick)));
  }
  for (const tick of [1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8]) {
    parts.push(drawn("line", { class: "grid", x1: curveX(tick), x2: curveX(tick), y1: curveY(0), y2: curveY(1) }));
    parts.push(drawn("text", { x: curveX(tick), y: height - bottom + 14, "text-anchor": "middle" }, tick < 1 ? `1/${1 / tick}` : String(tick)));
  }
  parts.push(drawn("text", { x: (left + width) / 2, y: height - 4, "text-anchor": "middle" }, `False positives per ${data.unit}`));
  let path = "";
  for (const [x, y] of frocPoints(data, rule)) path += path ? `H${curveX(x).toFixed(1)}V${curveY(y).toFixed(1)}` : `M${curveX(x).toFixed(1)},${curveY(y).toFixed(1)}`;
  parts.push(drawn("path", { class: "line", d: path || "M0,0" }), drawn("circle", { class: "dot", r: 5.5 }));
  svg.replaceChildren(...parts);
}

function moveDot(svg, falsePositives, sensitivity) {
  const dot = svg.querySelector(".dot"), known = falsePositives !== null && sensitivity !== null;
  dot.setAttribute("visibility", known ? "visible" : "hidden");
  if (!known) return;
  dot.setAttribute("cx", curveX(falsePositives));
  dot.setAttribute("cy", curveY(sensitivity));
}
