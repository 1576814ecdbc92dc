// Which images are shown, in which order, and their cards. A page of cards at a time keeps thousands light,
// and the tables below within reach.

const PAGE = window.innerWidth < 700 ? 12 : 24;
const OUTCOMES = { tp: "True positive", fp: "False positive", tn: "True negative", fn: "False negative", unknown: "Unknown truth" };
const LESION_CHIPS = {
  missed: ["Missed lesion", (one) => one.missed.length > 0],
  false: ["False positive box", (one) => one.falsePositives > 0],
  found: ["Found lesion", (one) => one.found.size > 0],
};

class GalleryView {
  // page: { judge, now(), open(order, place) }
  constructor(page) {
    this.page = page;
    this.wanted = { outcome: new Set(), lesion: new Set(), truth: "", view: "", text: "", sort: "errors" };
    this.start = 0;
    this.order = [];
    this.chips = {};
    this.grid = byId("gallery");
    this.makeFilters();
    this.grid.addEventListener("click", (event) => this.clicked(event));
    this.grid.addEventListener("keydown", (event) => this.key(event));
    byId("page-back").addEventListener("click", () => this.turn(-1));
    byId("page-on").addEventListener("click", () => this.turn(1));
  }

  makeFilters() {
    const { images } = this.page.judge.data;
    const outcomes = Object.keys(OUTCOMES).filter((key) => key !== "unknown" || images.some((one) => one.truth === null));
    this.makeChips("outcome", outcomes.map((key) => [key, OUTCOMES[key]]));
    this.makeChips("lesion", Object.entries(LESION_CHIPS).map(([key, [title]]) => [key, title]));
    this.makeSelect("truth", images.map((one) => one.truth ?? "unknown"));
    this.makeSelect("view", images.map((one) => one.view || "unknown"));
    for (const [id, name] of [["search", "text"], ["sort", "sort"]]) {
      byId(id).addEventListener("input", (event) => this.want(name, event.target.value));
    }
    byId("filters-clear").addEventListener("click", () => this.clear());
    byId("filters").addEventListener("submit", (event) => event.preventDefault());
  }

  makeChips(group, titles) {
    for (const [key, title] of titles) {
      const count = element("b", {});
      const chip = element("button", { type: "button", class: `chip ${key}`, "aria-pressed": "false" }, `${title} `, count);
      chip.addEventListener("click", () => {
        const chosen = this.wanted[group];
        if (!chosen.delete(key)) chosen.add(key);
        chip.setAttribute("aria-pressed", chosen.has(key));
        this.start = 0;
        this.update();
      });
      this.chips[key] = { chip, count };
      byId(`chips-${group}`).append(chip);
    }
  }

  makeSelect(name, values) {
    const select = byId(`filter-${name}`), known = [...new Set(values)].sort();
    // Option values are numbers: the text of a file stays text.
    select.append(element("option", { value: "", text: "all" }), ...known.map((text, n) => element("option", { value: n, text })));
    select.addEventListener("input", () => this.want(name, select.value === "" ? "" : known[select.value]));
  }

  want(name, value) {
    this.wanted[name] = value;
    this.start = 0;
    this.update();
  }

  clear() {
    for (const group of ["outcome", "lesion"]) this.wanted[group].clear();
    for (const { chip } of Object.values(this.chips)) chip.setAttribute("aria-pressed", "false");
    for (const id of ["filter-truth", "filter-view", "search"]) byId(id).value = "";
    Object.assign(this.wanted, { truth: "", view: "", text: "" });
    this.start = 0;
    this.update();
  }

  update() {
    const now = this.page.now();
    this.order = this.sorted(now.images.map((_, image) => image).filter((image) => this.fits(image, now)), now);
    this.start = Math.min(this.start, Math.max(0, Math.floor((this.order.length - 1) / PAGE) * PAGE));
    for (const [key, { count }] of Object.entries(this.chips)) {
      const test = LESION_CHIPS[key]?.[1] ?? ((one) => one.outcome === key);
      count.textContent = now.images.filter(test).length;
    }
    const all = now.images.length;
    byId("shown").textContent = this.order.length === all ? `All ${plural(all, "image")}` : `${this.order.length} of ${plural(all, "image")}`;
    this.showPage(now);
  }

  fits(image, now) {
    const record = this.page.judge.data.images[image], one = now.images[image], { wanted } = this;
    if (wanted.outcome.size && !wanted.outcome.has(one.outcome)) return false;
    for (const key of wanted.lesion) if (!LESION_CHIPS[key][1](one)) return false;
    if (wanted.truth && wanted.truth !== (record.truth ?? "unknown")) return false;
    if (wanted.view && wanted.view !== (record.view || "unknown")) return false;
    const text = wanted.text.trim().toLowerCase();
    return !text || `${record.name}\n${record.patient ?? ""}`.toLowerCase().includes(text);
  }

  sorted(places, now) {
    const { images } = this.page.judge.data;
    const falling = {
      errors: (image) => images[image].errors, surest: (image) => now.images[image].surest,
      false: (image) => now.images[image].falsePositives, missed: (image) => now.images[image].missed.length,
      score: (image) => now.images[image].verdictScore ?? 0,
    }[this.wanted.sort];
    if (!falling) return places.sort((a, b) => images[a].name.localeCompare(images[b].name, "en", { numeric: true }));
    return places.sort((a, b) => falling(b) - falling(a) || a - b);
  }

  showPage(now) {
    const end = Math.min(this.start + PAGE, this.order.length);
    const focused = document.activeElement?.closest?.(".card")?.dataset.image;
    this.grid.replaceChildren(...this.order.slice(this.start, end).map((image) => this.card(image, now)));
    if (!this.order.length) this.grid.append(element("p", { class: "soft", text: "No image fits the filters at this threshold." }));
    this.setTabStop(this.grid.querySelector(".card"));
    if (focused !== undefined) this.focus(Number(focused));
    const pages = Math.ceil(this.order.length / PAGE);
    byId("page-number").textContent = pages > 1 ? `${this.start + 1} to ${end} of ${this.order.length}` : "";
    byId("page-back").hidden = byId("page-on").hidden = pages < 2;
    byId("page-back").disabled = this.start === 0;
    byId("page-on").disabled = end >= this.order.length;
  }

  card(image, now) {
    const { judge } = this.page, record = judge.data.images[image], one = now.images[image];
    const shot = element("span", { class: record.thumbnail ? "shot" : "shot empty" });
    shot.style.aspectRatio = `${record.width} / ${record.height}`;
    if (record.thumbnail) shot.append(element("img", { src: record.thumbnail, alt: "", decoding: "async", draggable: "false" }));
    else shot.append(element("span", { class: "why", text: record.problem ?? "no picture" }));
    shot.append(boxesAsSvg(record, boxesToDraw(judge, now, image)));
    const badges = element("span", { class: "badges" });
    if (one.outcome) badges.append(element("span", { class: `badge ${one.outcome}`, text: OUTCOMES[one.outcome] }));
    if (one.missed.length) badges.append(element("span", { class: "badge missed", text: `${one.missed.length} missed` }));
    if (one.falsePositives) badges.append(element("span", { class: "badge false", text: plural(one.falsePositives, "FP box", "FP boxes") }));
    const { scored } = judge.data;
    if (scored) badges.append(element("span", { class: "badge score", text: `score ${shown(record.score)}` }));
    const about = [record.truth ?? "unknown truth", record.view, record.patient && `patient ${record.patient}`].filter(Boolean).join(" · ");
    const counts = scored ? [`score ${shown(record.score)}`]
      : [plural(one.missed.length, "missed lesion"), plural(one.falsePositives, "false positive box", "false positive boxes")];
    const label = [record.name, about, one.outcome && OUTCOMES[one.outcome], ...counts].filter(Boolean).join(", ");
    return element("button", { type: "button", class: "card", "data-image": image, tabindex: -1, "aria-label": label, title: record.name },
      element("span", { class: "frame" }, shot), badges,
      element("span", { class: "name" }, element("bdi", { text: record.name })), element("span", { class: "soft about", text: about }));
  }

  turn(step) {
    this.start += step * PAGE;
    this.showPage(this.page.now());
    byId("shown").scrollIntoView({ block: "nearest" });
  }

  clicked(event) {
    const card = event.target.closest(".card");
    if (card) this.page.open([...this.order], this.order.indexOf(Number(card.dataset.image)));
  }

  // One stop for Tab, arrows within: a page of cards is not so many stops.
  key(event) {
    const cards = [...this.grid.querySelectorAll(".card")], place = cards.indexOf(document.activeElement);
    if (place < 0) return;
    const columns = Math.max(1, cards.filter((card) => card.offsetTop === cards[0].offsetTop).length);
    const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns, Home: -place, End: cards.length - 1 - place };
    const next = cards[place + steps[event.key]];
    if (!next) return;
    event.preventDefault();
    this.setTabStop(next);
    next.focus();
  }

  focus(image) {
    const place = this.order.indexOf(image);
    if (place >= 0 && (place < this.start || place >= this.start + PAGE)) {
      this.start = Math.floor(place / PAGE) * PAGE;
      this.showPage(this.page.now());
    }
    const card = this.grid.querySelector(`.card[data-image="${image}"]`) ?? this.grid.querySelector(".card");
    this.setTabStop(card);
    card?.focus();
  }

  setTabStop(card) {
    for (const one of this.grid.querySelectorAll('.card[tabindex="0"]')) one.tabIndex = -1;
    if (card) card.tabIndex = 0;
  }
}
