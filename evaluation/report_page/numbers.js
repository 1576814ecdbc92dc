// Numbers as the tables of this page show them, and elements made without any HTML text.

function shown(value) {
  if (value === null || Number.isNaN(value)) return "n/a";
  // Python rounds a tie to the even digit, toFixed rounds it up. With three decimals only sixteenths can tie.
  if (Number.isInteger(value * 16)) {
    const thousandths = value * 1000, floor = Math.floor(thousandths);
    if (thousandths - floor === 0.5) return ((floor + (floor % 2)) / 1000).toFixed(3);
  }
  return value.toFixed(3);
}

function ratio(part, whole) {
  return whole ? part / whole : null;
}

function byId(id) {
  return document.getElementById(id);
}

// Text goes in as text: nothing that a file, a patient or a class is called can become an element.
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") made.className = value;
    else if (name === "text") made.textContent = value;
    else if (value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

function drawn(tag, attributes = {}, text = "") {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.textContent = text;
  return made;
}

function plural(count, one, many = `${one}s`) {
  return `${count} ${count === 1 ? one : many}`;
}
