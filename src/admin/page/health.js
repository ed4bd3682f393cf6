// Health: lists, copies of the catalog, the certificate.

import { ago, count, exact, fill, foreign, h, span } from "./dom.js";
import { mark } from "./package.js";
import { problemCard } from "./signin.js";
import { store } from "./store.js";

/// Days before its end from which a certificate is warned about.
const CERTIFICATE_DAYS = 21;

function listCard(row) {
	const readOnly = row.read_only && h("p", { class: "soft" }, "Read-only: ", foreign(row.read_only));
	return h("section", { class: "card" },
		h("h3", {}, foreign(row.shop), " ", mark(!row.last_error && !row.gone, row.gone ? "File gone" : row.last_error ? "Not loaded" : "In order")),
		h("p", {}, foreign(row.file, "code")),
		row.last_error && [h("pre", { tabindex: 0, "aria-label": "Error" }, foreign(row.last_error)),
			h("p", {}, row.loaded_at ? "Until this is mended, the last good list stays in force." : "The shop is closed until this is mended.")],
		row.gone && h("p", {}, "The last good list stays in force."),
		h("p", { class: "soft" }, `The file shows ${row.extensions}, retires ${row.retired} and hides ${row.hidden}`,
			row.loaded_at && [". Loaded ", ago(row.loaded_at)], "."),
		row.hosts.length > 0 && h("p", { class: "soft" }, "Also at ", row.hosts.map((host, at) => [at ? ", " : "", foreign(host, "code")])),
		readOnly);
}

function feedTable(feeds) {
	return h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Copies of the catalog" }, h("table", {},
		h("thead", {}, h("tr", {}, ["Copy", "Age", "State", "Entries"].map((name) => h("th", { scope: "col" }, name)))),
		h("tbody", {}, feeds.map((feed) => h("tr", {},
			h("th", { scope: "row" }, foreign(feed.key, "code"), feed.last_error && h("div", { class: "error" }, foreign(feed.last_error))),
			h("td", {}, span(feed.age)),
			h("td", {}, mark(feed.fresh && !feed.last_error, feed.last_error ? "Failing" : feed.fresh ? "Fresh" : "Being renewed")),
			h("td", {}, feed.elements?.toLocaleString("en") ?? "–"))))));
}

export function health(view) {
	const body = h("div");
	fill(view, h("h1", {}, "Is everything in order?"), body);

	function paint() {
		const { status } = store;
		if (!status) return;
		const left = status.certificate_expires && (Date.parse(status.certificate_expires) - Date.now()) / 86400e3;
		const failing = status.feeds.filter((feed) => feed.last_error).length;
		const broken = status.shops.filter((row) => row.last_error || row.gone).length;
		const troubles = [
			broken && `${count(broken, "list has", "lists have")} a problem`,
			failing && `${count(failing, "copy", "copies")} of the catalog cannot be renewed`,
			status.disputed_hosts.length > 0 && "two shops claim the same host",
			left !== null && left < CERTIFICATE_DAYS && (left < 0 ? "the certificate has expired" : "the certificate expires soon"),
			status.warning && "the page is open to the network",
		].filter(Boolean);
		const said = troubles.join("; ");
		fill(body,
			h("p", { class: "lead" }, troubles.length ? `${said[0].toUpperCase()}${said.slice(1)}.` : "Everything is in order."),
			status.warning && h("p", { class: "warning" }, foreign(status.warning)),
			status.disputed_hosts.length > 0 && h("div", { class: "warning" }, h("p", {}, "More than one shop claims these hosts, so none is served there: "),
				h("ul", {}, status.disputed_hosts.map((host) => h("li", {}, foreign(host, "code"))))),
			h("h2", {}, "Lists"), h("div", { class: "cards" }, status.shops.map(listCard)),
			h("h2", {}, "Copies of the catalog"),
			status.feeds.length ? feedTable(status.feeds) : h("p", { class: "soft" }, "None yet: the first server that asks brings one."),
			h("h2", {}, "The proxy"),
			h("dl", { class: "card facts" }, [
				["Version", status.revision ? `${status.version} (${status.revision})` : status.version],
				["Catalog from", foreign(status.upstream, "code")],
				["Copies on disk", status.cache_directory ? foreign(status.cache_directory) : "none: there is no cache directory"],
				["History of edits", status.edits_kept === "disk" ? "kept on disk" : "in memory only: it is lost with a restart"],
				["Certificate", status.certificate_expires ? [mark(left >= CERTIFICATE_DAYS, left < 0 ? "Expired" : left < CERTIFICATE_DAYS ? "Expires soon" : "Valid"), ` until ${exact(status.certificate_expires)}`] : "none: plain HTTP"],
				["Editing", status.locked ? foreign(status.locked) : "possible with a token"],
			].map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)))));
	}

	const load = () => store.loadStatus().catch((problem) => { if (!store.status) fill(body, problemCard(problem)); });
	if (!store.status) fill(body, h("p", { class: "lead" }, "Loading…"));
	paint();
	load();
	return (what) => {
		// Scrolled or selected regions stay as they are while somebody is in them.
		if (what === "status" && !body.contains(document.activeElement) && getSelection().isCollapsed) paint();
	};
}
