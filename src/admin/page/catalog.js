// The catalog: every extension with its state, found by name, filtered, decided.

import { ago, button, count, fill, foreign, h } from "./dom.js";
import { decision, dress, identity, seller, standing } from "./package.js";
import { problemCard } from "./signin.js";
import { fold, store } from "./store.js";
import { LongTable } from "./table.js";

const CHIPS = [
	["all", "All", () => true],
	["shown", "Shown", (row) => row.state === "shown"],
	["retired", "Retired", (row) => row.state === "retired"],
	["hidden", "Hidden", (row) => row.state === "hidden"],
	["undecided", "Undecided", (row) => row.isUndecided],
];
const SELLERS = [["", "Any seller"], ["plesk", "Plesk"], ["vendor", "Their vendors"], ["free", "Free"]];
const ORDERS = [["", "Catalog order"], ["name", "By name"]];

/// What is looked for; it outlives a look at another view.
const filter = { words: "", chip: "all", seller: "", category: "", order: "" };
const collator = new Intl.Collator("en", { numeric: true });

function select(label, options, name, onchange) {
	const element = h("select", { "aria-label": label, onchange: () => { filter[name] = element.value; onchange(); } },
		options.map(([value, text]) => h("option", { value, selected: value === filter[name] }, text)));
	return element;
}

function matches(row) {
	const words = fold(filter.words).split(/\s+/).filter(Boolean);
	const inCategory = store.categories?.find(({ code }) => code === filter.category)?.packages;
	return words.every((word) => row.haystack.includes(word))
		&& (!filter.seller || row.seller === filter.seller)
		&& (!inCategory || inCategory.some(({ code }) => code === row.code));
}

function sorted(rows) {
	return filter.order ? rows.toSorted((a, b) => collator.compare(a.title, b.title)) : rows;
}

/// A sentence on the whole shop.
export function lead() {
	const packages = store.catalog?.packages;
	if (!packages) return store.problem ? "" : "Loading the catalog…";
	const of = (state) => packages.filter((row) => row.state === state).length;
	const undecided = packages.filter((row) => row.isUndecided).length;
	const feed = store.status?.feeds.find(({ key }) => key === store.catalog.feed);
	const parts = [
		`The catalog has ${count(packages.length, "extension")}. Customers of `, h("strong", {}, store.shop),
		` see ${of("shown").toLocaleString("en")} of them; ${count(of("retired"), "is", "are")} retired, ${of("hidden").toLocaleString("en")} hidden. `,
		`${count(undecided, "waits", "wait")} for a decision. `,
	];
	if (feed) parts.push("Fetched ", ago(new Date(Date.now() - feed.age * 1000).toISOString()), ".");
	return parts;
}

/// Links between the two ways to look at a shop.
export function ways(view) {
	const link = (name, text) => h("a", { href: `#${name}`, "aria-current": name === view && "page" }, text);
	return h("nav", { class: "ways", "aria-label": "Ways to look at the catalog" },
		link("catalog", "List"), link("storefront", "As customers see it"));
}

export function catalog(view) {
	const intro = h("p", { class: "lead" });
	const search = h("input", { type: "search", placeholder: "Search name or code", "aria-label": "Search name or code", value: filter.words, autocomplete: "off", spellcheck: "false" });
	const chips = CHIPS.map(([name, text]) => button([`${text} `, h("span")], () => { filter.chip = name; find(); }));
	const categories = h("select", { "aria-label": "Category", hidden: true, onchange: () => { filter.category = categories.value; find(); } });
	const table = new LongTable("Extensions of the catalog", ["Extension", "Sold by", "In the shop", "Decision"],
		(row) => [identity(row), seller(row), standing(row), decision(row)], dress);
	table.element.classList.add("packages");
	const nothing = h("div", { hidden: true });
	let timer;

	search.addEventListener("input", () => { filter.words = search.value; find(); });
	fill(view,
		h("h1", {}, "What your customers see"), intro, ways("catalog"),
		h("div", { class: "bar" },
			h("div", { class: "fields" }, search, select("Seller", SELLERS, "seller", find), categories, select("Order", ORDERS, "order", find)),
			h("div", { class: "chips", role: "group", "aria-label": "State" }, chips)),
		table.element, nothing);

	function find() {
		const packages = store.catalog?.packages ?? [];
		const found = packages.filter(matches);
		CHIPS.forEach(([name, , test], at) => {
			chips[at].setAttribute("aria-pressed", String(name === filter.chip));
			chips[at].lastChild.textContent = store.catalog ? found.filter(test).length.toLocaleString("en") : "";
		});
		const shown = sorted(found.filter(CHIPS.find(([name]) => name === filter.chip)[2]));
		table.show(shown);
		table.element.hidden = shown.length === 0;
		nothing.hidden = shown.length > 0 || !store.catalog;
		if (!nothing.hidden) {
			fill(nothing, h("div", { class: "card" }, h("p", {}, "No extension matches", filter.words && [" ", foreign(`“${filter.words}”`)], "."),
				button("Show all", clear)));
		}
		// Said once the typing pauses.
		clearTimeout(timer);
		timer = setTimeout(() => { if (store.catalog) document.querySelector("#count").textContent = count(shown.length, "extension"); }, 500);
	}

	function clear() {
		Object.assign(filter, { words: "", chip: "all", seller: "", category: "" });
		catalog(view);
		view.querySelector("input[type=search]").focus();
	}

	function paint() {
		const at = table.element.contains(document.activeElement) ? document.activeElement : null;
		const focus = at && { code: at.closest("[role=row]").item?.code, value: at.value };
		fill(intro, lead());
		if (store.problem) {
			fill(nothing, problemCard(store.problem));
			table.element.hidden = true;
			nothing.hidden = false;
			return;
		}
		find();
		const item = focus && store.catalog?.packages.find((row) => row.code === focus.code);
		if (item) [...table.reveal(item)?.querySelectorAll("input") ?? []].find((input) => input.value === focus.value)?.focus({ preventScroll: true });
	}

	function paintCategories() {
		categories.hidden = !store.categories?.length;
		fill(categories, h("option", { value: "" }, "Any category"), (store.categories ?? []).map(({ code, name }) =>
			h("option", { value: code ?? "", selected: code === filter.category }, (name ?? code ?? "").slice(0, 60))));
		if (filter.category) find();
	}

	paint();
	paintCategories();
	return (what) => {
		if (what === "tray") table.rows().forEach((row) => dress(row, row.item));
		else if (what === "catalog") paint();
		else if (what === "status") fill(intro, lead());
		else if (what === "categories") paintCategories();
		else if (what === "shop") { filter.category = ""; paintCategories(); paint(); }
		else if (what === "news") table.show(table.groups.flatMap(({ items }) => items));
	};
}
