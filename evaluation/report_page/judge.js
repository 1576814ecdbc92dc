// What every threshold means for every image. Hits and suppression come from mammodet's own matching, in the
// data: a box counts when its score is at least the threshold, and nothing is matched again.

const FALSE_POSITIVE = -1, OTHER_CLASS = -3; // as in report_data.py
const BENIGN = 1, MALIGNANT = 2;
const NO_RULE = { name: "", lesions: [], units: 0, found: [], counted: null }; // of a page of scores of images

function groups(places, count) {
  const grouped = Array.from({ length: count }, () => []);
  places.forEach((image, number) => grouped[image].push(number));
  return grouped;
}

class Judge {
  constructor(data) {
    this.data = data;
    this.boxesOf = groups(data.boxes.image, data.images.length);
    this.lesionsOf = groups(data.lesions.image, data.images.length);
    const score = data.boxes.score;
    for (const boxes of this.boxesOf) boxes.sort((a, b) => score[b] - score[a]);
    // The image of each lesion that counts, by rule: others are neither found nor missed.
    this.rules = data.scored ? [NO_RULE] : data.rules;
    this.counted = this.rules.map((rule) => new Set(rule.lesions));
  }

  at(threshold, ruleNumber) {
    const rule = this.rules[ruleNumber];
    const images = this.data.images.map((_, image) => this.image(image, threshold, rule, ruleNumber));
    const total = { found: 0, falsePositives: 0, positives: 0, hits: 0, negatives: 0, rejections: 0 };
    images.forEach((one, image) => {
      total.found += one.found.size;
      if (!rule.counted || rule.counted[image]) total.falsePositives += one.falsePositives;
      total.positives += one.outcome === "tp" || one.outcome === "fn";
      total.hits += one.outcome === "tp";
      total.negatives += one.outcome === "tn" || one.outcome === "fp";
      total.rejections += one.outcome === "tn";
    });
    return { threshold, rule, images, total };
  }

  image(image, threshold, rule, ruleNumber) {
    const { score } = this.data.boxes;
    const found = new Set();
    let falsePositives = 0, surest = 0, boxes = 0;
    for (const box of this.boxesOf[image]) {
      if (!(score[box] >= threshold)) break; // they fall
      boxes += 1;
      const what = rule.found[box];
      if (what >= 0) found.add(what);
      else if (what === FALSE_POSITIVE) {
        falsePositives += 1;
        surest = Math.max(surest, score[box]);
      }
    }
    const missed = this.lesionsOf[image].filter((n) => this.counted[ruleNumber].has(n) && !found.has(n));
    return { found, missed, falsePositives, surest, boxes, ...this.verdict(image, threshold) };
  }

  // Lin et al. 2023, sections 2.6 and 2.7, as in fusion.py: a malignant box decides, with the highest score;
  // otherwise 1 minus the highest score of the benign boxes that no malignant box suppresses.
  verdict(image, threshold) {
    if (!this.data.judged) return { malignant: null, verdictScore: null, outcome: null };
    if (this.data.scored) return this.scored(image, threshold);
    const { score, category } = this.data.boxes;
    let malignant = null, benign = null;
    for (const box of this.boxesOf[image]) {
      if (!(score[box] >= threshold)) break;
      if (category[box] === MALIGNANT) malignant = Math.max(malignant ?? 0, score[box]);
      else if (category[box] === BENIGN && !this.suppressed(box, threshold)) benign = Math.max(benign ?? 0, score[box]);
    }
    const called = malignant !== null;
    const verdictScore = called ? malignant : benign === null ? 0 : 1 - benign;
    return { malignant: called, verdictScore, outcome: this.outcome(image, called) };
  }

  scored(image, threshold) {
    const { score } = this.data.images[image], called = score >= threshold;
    return { malignant: called, verdictScore: score, outcome: this.outcome(image, called) };
  }

  suppressed(box, threshold) {
    const suppressor = this.data.boxes.suppressor[box];
    return suppressor >= 0 && suppressor >= threshold;
  }

  outcome(image, called) {
    const { truth } = this.data.images[image];
    if (truth === null) return "unknown";
    return truth === "malignant" ? (called ? "tp" : "fn") : called ? "fp" : "tn";
  }
}
