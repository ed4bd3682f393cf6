// Reviewing the tray: what would change, in names and in lines of the file, then the change itself.

import { post } from "./api.js";
import { button, copyButton, count, dialog, fill, foreign, h, sentence, visible } from "./dom.js";
import { badge } from "./package.js";
import { signInForm } from "./signin.js";
import { store } from "./store.js";
import { remove, replace, size, wanted, VERBS } from "./tray.js";
import { commands } from "./commands.js";
import { say } from "./message.js";

/// Notes that were written and not sent, by shop.
const notes = new Map();

/// Changes as people read them.
export function changeList(changes) {
	if (!changes?.length) return h("p", { class: "soft" }, "No extension changes its state.");
	return h("ul", { class: "changes" }, changes.map((change) => h("li", {},
		foreign(change.name ?? change.code, "strong"), " ",
		change.name && change.name !== change.code && foreign(change.code, "code"),
		change.state
			? h("span", { class: "turn" }, badge(change.was), h("span", { "aria-label": "becomes" , role: "img" }, "→"), badge(change.state))
			: h("div", { class: "soft" }, foreign(change.no_effect ?? "")))));
}

/// Why the server did not do it.
export function refusal(problem) {
	return h("p", {}, h("strong", {}, "Nothing was changed: "), foreign(problem.message), ".");
}

function warningList(warnings) {
	return warnings.length > 0 && h("ul", { class: "warning" }, warnings.map(({ code, message }) =>
		h("li", {}, code ? [foreign(code, "code"), ": ", foreign(message)] : sentence(message))));
}

/// Lines of the file that change; what comes and goes is told by its sign.
function fileLines(lines) {
	const kinds = { "+": "ins", "-": "del" };
	return h("pre", { tabindex: 0, "aria-label": "Lines of the file" }, lines.map((line) => {
		const element = h(kinds[line[0]] ?? "span");
		element.textContent = `${visible(line)}\n`;
		return element;
	}));
}

export async function review(shop) {
	const body = h("div", { class: "body" });
	const opened = dialog(`${count(size(shop), "change")} for ${shop}`, body);
	let meanwhile = null;
	await preview();

	async function preview() {
		if (size(shop) === 0) { opened.close(); return; }
		fill(body, h("p", { class: "soft", role: "status" }, "Working out what would change…"), cancel("Cancel"));
		try {
			ready(await post("preview", wanted(shop)));
		} catch (problem) {
			refused(problem, preview);
		}
	}

	function cancel(text) {
		return button(text, () => opened.close(), "quiet");
	}

	/// Shows what would change, and offers to do it.
	function ready({ changes, lines, warnings, digest }) {
		const seen = shop === store.shop && store.catalog?.digest;
		if (seen && seen !== digest) store.loadCatalog();
		const why = store.readOnly(shop);
		const note = h("textarea", { id: "note", rows: 2, maxlength: 2000 });
		note.value = notes.get(shop) ?? "";
		note.addEventListener("input", () => notes.set(shop, note.value));
		const apply = button(meanwhile ? "Apply to the new list" : "Apply", () => send(digest, apply), "go");
		fill(body,
			meanwhile && h("div", { class: "warning", role: "alert" },
				h("p", {}, h("strong", {}, "Somebody changed the list meanwhile."), " Nothing of yours was made yet. This is what changed:"),
				changeList(meanwhile), h("p", {}, "Below is what your changes would do to the new list.")),
			h("h3", {}, "In the shop"), changeList(changes),
			warningList(warnings),
			h("details", { open: lines.length < 40 }, h("summary", {}, "In the file"), fileLines(lines)),
			why ? elsewhere(why, lines) : [
				h("label", { for: "note" }, "Why (kept in the history)"), note,
				h("p", { class: "soft" }, "Servers see it when they next ask, within three days.")],
			h("div", { class: "actions" }, cancel("Not now"), !why && apply));
		(why ? body.querySelector("button") : apply).focus({ preventScroll: true });
	}

	/// Says why it cannot be done from here, and how it can.
	function elsewhere({ reason, signIn }, lines) {
		if (signIn) return h("div", { class: "card" }, h("p", {}, "Sign in to apply this."), signInForm(preview));
		const text = commands(wanted(shop));
		const pre = h("pre", { tabindex: 0, "aria-label": "Commands" });
		pre.textContent = text;
		const added = lines.filter((line) => line.startsWith("+")).map((line) => line.slice(1)).join("\n");
		const toml = h("pre", { tabindex: 0, "aria-label": "New lines of the file" });
		toml.textContent = added;
		return h("div", { class: "elsewhere" },
			h("p", {}, "It cannot be changed from here: ", foreign(reason), ". Where the list is kept, these commands do the same:"),
			pre, copyButton("Copy the commands", text, pre),
			added && [h("p", {}, "Or put these lines into the file:"), toml, copyButton("Copy the lines", added, toml)]);
	}

	async function send(digest, apply) {
		const edit = wanted(shop);
		apply.disabled = true;
		apply.textContent = "Applying…";
		try {
			const made = await post("edits", { ...edit, note: notes.get(shop) ?? "" }, digest);
			notes.delete(shop);
			remove(shop, VERBS.flatMap((verb) => edit[verb]));
			opened.close();
			say("done", h("strong", {}, `Done: the new list of ${shop} is in force.`), changeList(made.changes),
				warningList(made.warnings));
			await store.refresh();
		} catch (problem) {
			if (problem.status === 412) {
				meanwhile = problem.body.changes ?? [];
				await store.refresh();
				await preview();
			} else {
				refused(problem, preview);
			}
		}
	}

	/// Says why the server did not take it. The tray stays as it is.
	function refused(problem, again) {
		const codes = problem.body?.codes ?? [];
		const isUnknown = problem.status === 422 && codes.length > 0;
		fill(body,
			h("div", { class: "warning", role: "alert" }, refusal(problem)),
			isUnknown && h("ul", { class: "changes" }, codes.map(({ code, meant }) => h("li", {},
				foreign(code, "code"), " ",
				meant && button(["Use ", foreign(meant, "code")], () => { replace(shop, code, meant); preview(); }),
				button("Leave it out", () => { remove(shop, [code]); preview(); }, "quiet")))),
			problem.status === 401 && signInForm(again),
			h("div", { class: "actions" }, cancel("Close"), problem.status !== 401 && button("Try again", again, "go")));
		body.querySelector("input, button")?.focus();
	}
}
