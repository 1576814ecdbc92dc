// The page: threshold and hit rule, the numbers that follow them, gallery and full-size view.

class Page {
  constructor(data) {
    this.judge = new Judge(data);
    this.threshold = Math.max(data.threshold, data.lowest); // boxes below the lowest are not on the page
    this.rule = 0;
    this.judged = this.judge.at(this.threshold, this.rule);
    this.gallery = new GalleryView(this);
    this.viewer = new Viewer(this);
    this.makeControls(data);
    this.legend(data);
    byId("viewer").hidden = false;
    if (!data.judged) for (const part of document.querySelectorAll("#viewer .of-images")) part.remove();
    if (data.scored) this.leaveBoxesOut();
    this.ruleChanged();
  }

  now() {
    return this.judged;
  }

  makeControls(data) {
    for (const id of ["threshold", "full-threshold", "threshold-number"]) byId(id).min = data.lowest;
    byId("threshold").addEventListener("input", (event) => this.setThreshold(Number(event.target.value)));
    byId("threshold-number").addEventListener("change", (event) => this.setThreshold(event.target.valueAsNumber));
    byId("threshold-reset").hidden = data.threshold < data.lowest;
    byId("threshold-reset").textContent = `Protocol: ${data.threshold}`;
    byId("threshold-reset").addEventListener("click", () => this.setThreshold(data.threshold));
    const select = byId("rule"), several = new Set(data.rules.map((rule) => rule.classes)).size > 1;
    select.append(...data.rules.map((rule, n) => element("option", { value: n, text: several ? `${rule.name}, ${rule.classes}` : rule.name })));
    select.addEventListener("input", () => {
      this.rule = Number(select.value);
      this.ruleChanged();
    });
    byId("live-false-title").textContent = `False positives per ${data.unit}`;
    if (data.dropped) {
      byId("floor-text").hidden = false;
      byId("floor-text").textContent = `${plural(data.dropped, "box", "boxes")} with the lowest scores are left out here; the threshold starts above them, at ${data.lowest}.`;
    }
  }

  legend(data) {
    const used = new Set([...data.lesions.category, ...data.boxes.category]);
    const kinds = Object.entries(data.categories).filter(([category]) => used.has(Number(category))).slice(0, 6);
    for (const [category, name] of kinds) {
      const style = classStyle(data, Number(category));
      byId("legend").append(element("span", {}, lineSample(style, false), `true ${name}`));
      if (!data.scored) byId("legend").append(element("span", {}, lineSample(style, true), `predicted ${name}`));
    }
    if (data.lesions.ignored.some(Boolean)) byId("legend").append(element("span", {}, lineSample({ colour: YELLOW, width: 1.5, dash: [] }, false), "ignored"));
  }

  // Hidden, not removed: what they hold is still written to.
  leaveBoxesOut() {
    for (const part of document.querySelectorAll(":is(#viewer, #full) .of-boxes")) {
      if (part.matches("option")) part.remove();
      else part.classList.add("left-out");
    }
    byId("sort").querySelector('[value="errors"]').textContent = "surest wrong verdict at the protocol’s threshold";
    byId("full").querySelector("h4").textContent = "True boxes";
    byId("rule-text").textContent = "An image is called malignant with a score of at least the threshold.";
  }

  setThreshold(value) {
    const { lowest } = this.judge.data;
    if (!Number.isFinite(value)) value = this.threshold;
    this.threshold = Math.min(Math.max(value, lowest), 1);
    this.soon();
  }

  ruleChanged() {
    const { data } = this.judge, rule = this.judge.rules[this.rule];
    if (!data.scored) {
      byId("rule-text").textContent = `${rule.name}: ${rule.text}. A box counts with a score of at least the threshold.`;
      drawCurve(byId("curve"), data, rule);
    }
    this.update();
  }

  // At most once per frame: a slider sends more events than a screen has pictures.
  soon() {
    this.waiting ??= requestAnimationFrame(() => {
      this.waiting = null;
      this.update();
    });
  }

  update() {
    this.judged = this.judge.at(this.threshold, this.rule);
    byId("threshold").value = this.threshold;
    byId("threshold-number").value = this.threshold;
    byId("threshold-reset").disabled = this.threshold === this.judge.data.threshold;
    this.numbers();
    this.gallery.update();
    this.viewer.update();
  }

  numbers() {
    if (!this.judge.data.scored) this.lesionNumbers();
    if (!this.judge.data.judged) return;
    const { total } = this.judged;
    this.live("live-sensitivity", total.hits, total.positives, `of ${total.positives} malignant`);
    this.live("live-specificity", total.rejections, total.negatives, `of ${total.negatives} not malignant`);
  }

  lesionNumbers() {
    const { total, rule } = this.judged, { unit } = this.judge.data;
    const lesions = rule.lesions.length;
    const sensitivity = this.live("live-lesions", total.found, lesions, `of ${plural(lesions, "lesion")}`);
    const perUnit = this.live("live-false", total.falsePositives, rule.units, `on ${plural(rule.units, unit)}`);
    moveDot(byId("curve"), perUnit, sensitivity);
  }

  live(id, part, whole, rest) {
    const value = ratio(part, whole);
    byId(id).textContent = shown(value);
    byId(`${id}-of`).textContent = `${part} ${rest}`;
    return value;
  }

  open(order, place) {
    this.viewer.open(order, place);
  }

  closed(image) {
    this.gallery.focus(image);
  }
}

// Marks the section that is being read in the contents.
function followSections() {
  const links = new Map([...document.querySelectorAll("nav.contents a")].map((link) => [link.hash.slice(1), link]));
  const heads = [...document.querySelectorAll("main h2[id]")];
  let marked;
  const mark = () => {
    const current = heads.filter((head) => head.getBoundingClientRect().top < 160).at(-1) ?? heads[0];
    if (current?.id === marked) return;
    links.get(marked)?.removeAttribute("aria-current");
    marked = current.id;
    const link = links.get(marked), row = link.closest("ul");
    link.setAttribute("aria-current", "true");
    row.scrollLeft = link.offsetLeft - row.offsetLeft - 40; // on a phone the contents are one row
  };
  document.addEventListener("scroll", () => requestAnimationFrame(mark), { passive: true });
  mark();
}

// Wide tables scroll by themselves; without a tab stop the keyboard could not.
function reachTables() {
  for (const wide of document.querySelectorAll(".wide")) {
    if (wide.scrollWidth > wide.clientWidth) Object.assign(wide, { tabIndex: 0, role: "region", ariaLabel: "Table, scrolls sideways" });
  }
}

const stored = byId("viewer-data");
if (stored) new Page(JSON.parse(stored.textContent));
followSections();
reachTables();
