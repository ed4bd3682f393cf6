// The start of the page: which view is shown, for which shop, and what everybody must know.

import { takeToken } from "./api.js";
import { catalog } from "./catalog.js";
import { button, fill, foreign, h } from "./dom.js";
import { health } from "./health.js";
import { editHistory } from "./history.js";
import { hush, say } from "./message.js";
import { news, undecided } from "./news.js";
import { servers } from "./servers.js";
import { openSignIn, paintAccount, problemCard, signedIn } from "./signin.js";
import { store } from "./store.js";
import { storefront } from "./storefront.js";
import "./tray.js";

const VIEWS = { catalog, storefront, news, servers, health, history: editHistory };
const TITLES = { catalog: "Catalog", storefront: "Shop window", news: "News", servers: "Servers", health: "Health", history: "History" };
/// Pause between two looks at the lists, in milliseconds.
const PAUSE = 15_000;

const view = document.querySelector("#view");
const main = document.querySelector("#main");
const shop = document.querySelector("#shop");
let current = null;
let follow = null;

// A fragment is a view and, if there are several, a shop: #news/gold.
function fragment() {
	const [name, shopName] = location.hash.slice(1).split("/");
	return { name: Object.hasOwn(VIEWS, name) ? name : "catalog", shopName };
}

function show() {
	// A link that was opened in a tab that has the page already.
	if (takeToken()) signedIn();
	const { name, shopName } = fragment();
	if (shopName) store.choose(shopName);
	if (name === current) return;
	const isFirst = current === null;
	follow?.end?.();
	current = name;
	document.title = `${TITLES[name]} · Extension catalog`;
	document.querySelectorAll("header nav a").forEach((link) => {
		const isHere = link.hash === `#${name}` || (name === "storefront" && link.hash === "#catalog");
		if (isHere) link.setAttribute("aria-current", "page");
		else link.removeAttribute("aria-current");
	});
	follow = VIEWS[name](view);
	if (isFirst) return;
	hush();
	scrollTo(0, 0);
	main.focus({ preventScroll: true });
}

function paintShops() {
	shop.parentElement.hidden = store.shops.length < 2;
	fill(shop, store.shops.map((row) => h("option", { value: row.shop, selected: row.shop === store.shop }, row.shop)));
}

function paintNotices() {
	const { status } = store;
	if (!status) return;
	const row = store.shopStatus();
	const why = store.readOnly();
	const notices = [
		status.warning && h("p", { class: "warning" }, foreign(status.warning)),
		(row?.last_error || row?.gone) && h("p", { class: "warning" }, row.last_error ? "The file of this shop has a problem, and " : "The file of this shop is gone, and ",
			row.digest ? "its last good list stays in force. " : "the shop is closed until that is mended. ", row.last_error && foreign(row.last_error, "code")),
		why && h("p", { class: "notice" }, why.signIn
			? ["You are looking only. ", button("Sign in", openSignIn, "link"), " to change what customers see."]
			: [h("strong", {}, "Read-only: "), foreign(why.reason), ". What you choose can be copied as commands and lines for the file."]),
	].filter(Boolean);
	const element = document.querySelector("#notices");
	// Built anew only if it says something else: it is looked at every few seconds.
	if (notices.map((notice) => notice.textContent).join() !== [...element.children].map((notice) => notice.textContent).join()) fill(element, notices);
}

function paintNews() {
	const waits = undecided().length;
	const link = document.querySelector("header nav a[href='#news']");
	fill(link, "News", waits > 0 && [" ", h("span", { class: "number" }, waits.toLocaleString("en"), h("span", { class: "unseen" }, " undecided"))]);
}

store.on((what) => {
	if (what === "shops" || what === "shop") paintShops();
	if (["shops", "shop", "status"].includes(what)) paintNotices();
	if (what === "status" || what === "signed-out") paintAccount(document.querySelector("#account"));
	if (["news", "catalog", "shop"].includes(what)) paintNews();
	if (what === "signed-out" && store.status) paintNotices();
	follow?.(what);
});

shop.addEventListener("change", () => {
	history.replaceState(null, "", `#${current}/${shop.value}`);
	store.choose(shop.value);
});
document.querySelector(".skip").addEventListener("click", (event) => {
	event.preventDefault();
	main.focus();
});
addEventListener("hashchange", show);

/// Sees whether somebody else changed a list, and keeps the page with it.
async function look() {
	if (document.hidden || store.isRefreshing) return;
	try {
		await store.loadStatus();
		if (store.problem) await store.loadCatalog();
		const digest = store.shopStatus()?.digest;
		if (store.catalog && digest && digest !== store.catalog.digest && !store.isRefreshing && !document.querySelector("dialog")) {
			await store.refresh();
			say("done", h("p", {}, "The list of ", h("strong", {}, store.shop), " was changed elsewhere. This is how it is now."));
		}
	} catch { /* It is asked again; what is shown stays. */ }
}

async function start() {
	const { shopName } = fragment();
	store.shop = shopName || null;
	try {
		await Promise.all([store.loadShops(), store.loadStatus()]);
	} catch (problem) {
		await store.loadStatus().catch(() => {});
		follow?.end?.();
		follow = current = null;
		fill(view, h("h1", {}, "What your customers see"), problemCard(problem, () => { show(); start(); }));
		// A proxy that is just starting answers soon.
		if (problem.status !== 401) setTimeout(() => { show(); start(); }, PAUSE);
		return;
	}
	await Promise.allSettled([store.loadCatalog(), store.loadCategories(), store.loadNews()]);
}

takeToken();
show();
start();
setInterval(look, PAUSE);
