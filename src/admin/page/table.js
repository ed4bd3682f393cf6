// A table that stays quick with thousands of rows: only those near the window are built.

import { h } from "./dom.js";

/// Rows that are built together.
const GROUP_ROWS = 40;
/// How far outside of the window rows are built.
const MARGIN = "1200px";
/// Height of a row that was not built yet, about.
const ROW_HEIGHT = 84;

export class LongTable {
	/// `columns` are names; `build(item)` returns one cell's content for each of them, and `dress` sees each new row.
	constructor(label, columns, build, dress = () => {}) {
		this.build = build;
		this.dress = dress;
		this.head = h("div", { role: "rowgroup", class: "head" },
			h("div", { role: "row", "aria-rowindex": 1 }, columns.map((name) => h("div", { role: "columnheader" }, name))));
		this.element = h("div", { role: "table", class: "table", "aria-label": label }, this.head);
		this.observer = new IntersectionObserver((seen) => this.follow(seen), { rootMargin: MARGIN });
		this.groups = [];
	}

	/// Shows other items.
	show(items) {
		this.observer.disconnect();
		this.element.replaceChildren(this.head);
		this.element.setAttribute("aria-rowcount", items.length + 1);
		this.groups = [];
		for (let start = 0; start < items.length; start += GROUP_ROWS) {
			const group = { start, items: items.slice(start, start + GROUP_ROWS), element: h("div"), isBuilt: false };
			group.height = group.items.length * ROW_HEIGHT;
			group.element.style.height = `${group.height}px`;
			group.element.group = group;
			this.groups.push(group);
		}
		// The first rows are there at once, without waiting for the observer.
		if (this.groups[0]) this.raise(this.groups[0]);
		this.element.append(...this.groups.map((group) => group.element));
		this.groups.forEach((group) => this.observer.observe(group.element));
	}

	/// Builds the rows around an item, and returns its row.
	reveal(item) {
		const group = this.groups.find(({ items }) => items.includes(item));
		if (!group) return null;
		this.raise(group);
		return [...group.element.children].find((row) => row.item === item);
	}

	/// The rows that are built now.
	rows() {
		return this.groups.filter((group) => group.isBuilt).flatMap((group) => [...group.element.children]);
	}

	follow(seen) {
		for (const { target, isIntersecting } of seen) {
			if (isIntersecting) this.raise(target.group);
			// The row that has the focus stays, or keyboards would lose their place.
			else if (!target.contains(document.activeElement)) this.raze(target.group);
		}
	}

	raise(group) {
		if (group.isBuilt) return;
		group.isBuilt = true;
		group.element.setAttribute("role", "rowgroup");
		group.element.style.height = "";
		group.element.append(...group.items.map((item, at) => this.row(item, group.start + at + 2)));
	}

	raze(group) {
		if (!group.isBuilt) return;
		group.isBuilt = false;
		group.element.style.height = `${group.element.offsetHeight}px`;
		group.element.removeAttribute("role");
		group.element.replaceChildren();
	}

	row(item, index) {
		const row = h("div", { role: "row", "aria-rowindex": index });
		row.item = item;
		row.append(...this.build(item).map((cell) => h("div", { role: "cell" }, cell)));
		this.dress(row, item);
		return row;
	}
}
