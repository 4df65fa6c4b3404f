// The page is patched, never rebuilt: focus, selection and a screen reader's place stay.
// All text goes in as text: nothing that an API said can become markup.

const SVG = "http://www.w3.org/2000/svg";

/** An element; `class`, `text` and `on…` are special, all else are attributes. */
export function h(tag, set = {}, ...children) {
  return dressed(document.createElement(tag), set, children);
}

export function svg(tag, set = {}, ...children) {
  return dressed(document.createElementNS(SVG, tag), set, children);
}

function dressed(node, set, children) {
  for (const [name, value] of Object.entries(set)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "text") node.textContent = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

export function icon(name) {
  return svg("svg", { class: "icon", "aria-hidden": "true" }, svg("use", { href: `#i-${name}` }));
}

/** Change an icon into another one. */
export const reicon = (node, name) => set(node.firstChild, "href", `#i-${name}`);

export function say(node, text) {
  const wanted = text ?? "";
  if (node.textContent !== wanted) node.textContent = wanted;
}

export function set(node, name, value) {
  if (value === null || value === undefined || value === false) {
    if (node.hasAttribute(name)) node.removeAttribute(name);
    return;
  }
  const wanted = value === true ? "" : String(value);
  if (node.getAttribute(name) !== wanted) node.setAttribute(name, wanted);
}

/** An SVG has no `hidden` of its own, so the attribute it is. */
export function show(node, visible) {
  if (node.hasAttribute("hidden") === visible) node.toggleAttribute("hidden", !visible);
}

/** A button that does nothing for now stays where the focus is. */
export const disable = (button, off) => set(button, "aria-disabled", off ? "true" : null);

export const disabled = (button) => button.hasAttribute("aria-disabled");

/** Words in which `…` is set as code. */
export function prose(node, text) {
  if (node.told === text) return;
  node.told = text;
  const parts = (text ?? "").split("`");
  node.replaceChildren(
    ...parts.map((part, i) => (i % 2 ? h("code", { text: part }) : document.createTextNode(part))),
  );
}

/** Put these nodes, in this order, into a parent; only what is out of place is moved. */
function arrange(parent, nodes) {
  const wanted = new Set(nodes);
  for (const child of [...parent.children]) if (!wanted.has(child)) child.remove();
  place(parent, nodes);
}

/** The same for nodes that others may still be among: they will be moved elsewhere. */
export function place(parent, nodes) {
  const focused = document.activeElement;
  nodes.forEach((node, i) => {
    const there = parent.children[i];
    if (there === node) return;
    if (parent.moveBefore && node.isConnected && parent.isConnected) {
      parent.moveBefore(node, there ?? null);
    } else {
      parent.insertBefore(node, there ?? null);
    }
  });
  if (focused && focused !== document.activeElement && focused.isConnected) {
    focused.focus({ preventScroll: true });
  }
}

/** A list of things that come and go, each with a node of its own: made once, then patched. */
export class Keyed {
  constructor(parent, make) {
    this.parent = parent;
    this.make = make;
    this.there = new Map();
  }

  update(items, keyOf, ...more) {
    const next = new Map();
    for (const item of items) {
      const key = keyOf(item);
      const part = this.there.get(key) ?? this.make(item);
      part.update(item, ...more);
      next.set(key, part);
    }
    this.there = next;
    arrange(this.parent, [...next.values()].map((part) => part.node));
  }
}
