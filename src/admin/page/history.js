// Who decided what, when and why, and the way back.

import { post } from "./api.js";
import { button, dialog, exact, fill, foreign, h, names } from "./dom.js";
import { say } from "./message.js";
import { changeList, refusal } from "./review.js";
import { problemCard, signInForm } from "./signin.js";
import { store } from "./store.js";
import { LongTable } from "./table.js";

const DONE = { show: "Shown", retire: "Retired", hide: "Hidden", forget: "Taken off the list" };

/// The codes of an edit by what was done with them.
function codes(edit) {
	const lines = Object.entries(DONE).filter(([verb]) => edit[verb]?.length);
	if (!lines.length) return h("span", { class: "soft" }, "No extension: a comment, a date or the order");
	return lines.map(([verb, text]) => h("div", {}, `${text}: `, names(edit[verb].map((code) => foreign(code, "code")), 12)));
}

export function editHistory(view) {
	const intro = h("p", { class: "lead" }, "Loading…");
	const body = h("div");
	let takenBack = new Set();
	const table = new LongTable("Edits, the newest first", ["When", "Who", "Shop", "What", "Undo"], (edit) => [
		h("time", { datetime: edit.at }, exact(edit.at)),
		[edit.by === "file" && !edit.from ? h("span", { class: "soft" }, "in the file itself") : foreign(edit.by, "strong"), edit.from && h("div", { class: "soft" }, foreign(edit.from))],
		foreign(edit.shop),
		[edit.undoes && h("div", { class: "soft" }, "Takes an earlier edit back"), codes(edit), edit.note && h("blockquote", {}, foreign(edit.note))],
		takenBack.has(edit.id) ? h("span", { class: "soft" }, "Taken back")
			: edit.undoable && !store.readOnly(edit.shop) ? button(["Undo", h("span", { class: "unseen" }, ` the edit of ${exact(edit.at)}`)], () => ask(edit)) : null]);
	table.element.classList.add("edits");
	fill(view, h("h1", {}, "Who decided what"), intro, body);

	async function load() {
		try {
			const { edits, kept } = await store.private("edits");
			takenBack = new Set(edits.map((edit) => edit.undoes).filter(Boolean));
			fill(intro, "The newest first. An edit of the file itself is here too.", kept !== "disk" && " Kept in memory only: it is lost when the proxy restarts.");
			fill(body, edits.length ? table.element : h("div", { class: "card" }, h("p", {}, "No list has been changed yet.")));
			table.show(edits.toReversed());
		} catch (problem) {
			fill(intro);
			fill(body, problemCard(problem));
		}
	}

	/// Asks once more, with what is taken back in sight.
	function ask(edit) {
		const note = h("textarea", { id: "note", rows: 2, maxlength: 2000 });
		const result = h("div", { role: "alert" });
		const go = button("Undo it", undo, "go");
		const close = button("Not now", () => opened.close(), "quiet");
		const opened = dialog(`Take this edit of ${edit.shop} back?`, h("div", { class: "body" },
			codes(edit), h("p", { class: "soft" }, "By ", foreign(edit.by), `, ${exact(edit.at)}.`),
			h("label", { for: "note" }, "Why (kept in the history)"), note, result, h("div", { class: "actions" }, close, go)));
		go.focus();

		async function undo() {
			go.disabled = true;
			try {
				// The list as this page knows it: a change that it has not seen is not overwritten.
				const made = await post(`edits/${encodeURIComponent(edit.id)}/undo`, { note: note.value }, store.shopStatus(edit.shop)?.digest);
				opened.close();
				say("done", h("strong", {}, `Done: the edit was taken back, and the list of ${edit.shop} is in force.`), changeList(made.changes));
				await Promise.allSettled([store.refresh(), load()]);
			} catch (problem) {
				fill(result, h("div", { class: "warning" }, problem.status === 412
					? [h("p", {}, "Somebody changed the list meanwhile. This is what changed:"), changeList(problem.body.changes), h("p", {}, "If you still want to take the edit back, undo it again.")]
					: refusal(problem)),
					problem.status === 401 && signInForm(undo));
				if (problem.status === 412) await store.refresh();
				go.disabled = false;
				if (problem.status !== 401) go.focus();
			}
		}
	}

	load();
	return (what) => {
		if (what === "signed-in" || what === "signed-out") load();
	};
}
