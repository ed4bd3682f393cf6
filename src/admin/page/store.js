// What the server said last. Views show this and nothing else, so that no switch runs ahead of the list.

import { get, hasToken, keepToken, Problem } from "./api.js";

/// How long an extension counts as new.
const NEW_FOR_DAYS = 7;

class Store extends EventTarget {
	status = null;
	shops = [];
	/// Name of the chosen shop.
	shop = null;
	/// Packages of the chosen shop with `digest` and `feed`, once they are there.
	catalog = null;
	/// Why there are none.
	problem = null;
	/// Categories of the chosen shop, as customers see them.
	categories = null;
	news = [];
	newsProblem = null;
	servers = null;
	isRefreshing = false;

	tell(what) {
		this.dispatchEvent(new CustomEvent("change", { detail: what }));
	}

	on(listener) {
		this.addEventListener("change", (event) => listener(event.detail));
	}

	shopRow() {
		return this.shops.find((row) => row.shop === this.shop);
	}

	shopStatus(shop = this.shop) {
		return this.status?.shops.find((row) => row.shop === shop);
	}

	/// Says why nobody can edit the shop from here, as { reason, signIn }, or null if the person may.
	readOnly(shop = this.shop) {
		const { status } = this;
		if (!status) return { reason: "the proxy has not answered yet" };
		if (status.locked) return { reason: status.locked };
		const reason = this.shopStatus(shop)?.read_only;
		if (reason) return { reason };
		if (!status.person) return { reason: "you are not signed in", signIn: true };
		if (status.person.role !== "editor") return { reason: `${status.person.name} may read the lists, but not change them` };
		return null;
	}

	async loadStatus() {
		const { status } = await get("status");
		this.status = status;
		// A token that names nobody is of no use: it was revoked, or never right.
		if (hasToken() && !status.person) {
			keepToken(null);
			this.tell("signed-out");
		}
		this.tell("status");
	}

	async loadShops() {
		const { shops } = await get("shops");
		this.shops = shops.filter((row) => row.shop);
		if (!this.shopRow()) this.shop = this.shops[0]?.shop ?? null;
		this.tell("shops");
	}

	/// Reads the packages of the chosen shop.
	async loadCatalog() {
		const { shop } = this;
		try {
			const catalog = await get("packages", { shop });
			if (shop !== this.shop) return;
			catalog.packages.forEach((row, index) => prepare(row, index));
			this.catalog = catalog;
			this.problem = null;
			this.markNews();
			// The age of a copy that this call has brought.
			if (!this.status?.feeds.some(({ key }) => key === catalog.feed)) this.loadStatus().catch(() => {});
		} catch (problem) {
			if (shop !== this.shop) return;
			this.catalog = null;
			this.problem = problem;
		}
		this.tell("catalog");
	}

	async loadCategories() {
		const { shop } = this;
		const { categories } = await get("categories", { shop });
		if (shop !== this.shop) return;
		this.categories = categories;
		this.tell("categories");
	}

	async loadNews() {
		try {
			this.news = (await get("news")).news.toReversed();
			this.newsProblem = null;
		} catch (problem) {
			this.newsProblem = problem;
		}
		this.markNews();
		this.tell("news");
	}

	/// Reads what only people with a token may see. Without one it is not even asked for.
	async private(call) {
		if (!this.status) await this.loadStatus();
		if (this.status.editing && !this.status.person) throw new Problem(401);
		return get(call);
	}

	async loadServers() {
		this.servers = await this.private("servers");
		this.tell("servers");
	}

	/// Reads again what an edit may have changed.
	async refresh() {
		this.isRefreshing = true;
		const loads = [this.loadStatus(), this.loadShops(), this.loadCatalog()];
		if (this.categories) loads.push(this.loadCategories());
		if (this.servers) loads.push(this.loadServers());
		await Promise.allSettled(loads);
		this.isRefreshing = false;
	}

	/// Chooses another shop. What was known of the last one is forgotten.
	choose(shop) {
		if (shop === this.shop || !this.shops.some((row) => row.shop === shop)) return;
		Object.assign(this, { shop, catalog: null, problem: null, categories: null });
		this.tell("shop");
		this.loadCatalog();
		this.loadCategories().catch(() => {});
	}

	/// Tells which packages are new this week, and which news nobody has decided on.
	markNews() {
		const start = Date.now() - NEW_FOR_DAYS * 86400e3;
		const byCode = new Map((this.catalog?.packages ?? []).map((row) => [row.code, row]));
		for (const change of this.news) {
			change.package = change.change === "gone" ? undefined : byCode.get(change.code);
			if (change.package && change.change === "new" && Date.parse(change.at) > start) change.package.isNew = true;
		}
	}
}

/// Adds to a package what is looked at again and again.
function prepare(row, index) {
	row.index = index;
	row.title = row.name || row.code || "(no name)";
	row.isUndecided = row.seller === "plesk" && !row.decided && row.code !== null;
	row.haystack = fold(`${row.title} ${row.code ?? ""}`);
	// What the list says about it: a state, or that it says nothing.
	row.decision = row.decided ? VERBS[row.state] : "forget";
}

const VERBS = { shown: "show", retired: "retire", hidden: "hide" };

/// Writes a text so that capitals and accents do not count in a search.
export function fold(text) {
	return text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();
}

export const store = new Store();
