// Building blocks of the page. What comes from elsewhere is set as text, never as markup.

/// Longest text of somebody else's that is shown.
const MAX_TEXT = 300;

/// Makes an element. Properties that begin with "on" are listeners, true and false set or leave an attribute out.
export function h(tag, properties = {}, ...children) {
	const element = document.createElement(tag);
	for (const [name, value] of Object.entries(properties ?? {})) {
		if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
		else if (value === true) element.setAttribute(name, "");
		else if (value !== false && value != null) element.setAttribute(name, value);
	}
	element.append(...children.flat(Infinity).filter((child) => child != null && child !== false));
	return element;
}

/// Makes a button. A kind is a class: "go" for what is meant to be done, "quiet" for the way back.
export function button(text, onclick, kind, properties = {}) {
	return h("button", { type: "button", class: kind, onclick, ...properties }, text);
}

/// Replaces what an element holds.
export function fill(element, ...children) {
	element.replaceChildren(...children.flat(Infinity).filter((child) => child != null && child !== false));
}

/// Characters that are not seen, or that turn others around: written as escapes, so that no text looks like another.
export function visible(text) {
	return String(text ?? "").replace(/[\p{Cc}\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]/gu,
		(char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/// Text that somebody else wrote: isolated, so that its direction of writing changes nothing around it.
export function foreign(text, tag = "bdi") {
	const all = visible(text);
	const element = h(tag, { dir: "auto" });
	element.textContent = all.length > MAX_TEXT ? `${all.slice(0, MAX_TEXT).toWellFormed()}…` : all;
	return element;
}

/// A sentence of the server's: it begins with a capital, and names between backticks are set as such.
export function sentence(text) {
	const parts = String(text ?? "").split("`");
	parts[0] = parts[0].charAt(0).toUpperCase() + parts[0].slice(1);
	return parts.map((part, at) => part && foreign(part, at % 2 && parts.length % 2 ? "code" : "bdi"));
}

/// A number with its noun: "1 server", "2,000 servers".
export function count(number, one, many = `${one}s`) {
	return `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
}

/// Names as a list for people: "A, B and 3 more".
export function names(items, most = 3) {
	const parts = items.slice(0, most).map((item) => h("strong", {}, item));
	if (items.length > most) parts.push(`${(items.length - most).toLocaleString("en")} more`);
	return parts.map((part, at) => [at === 0 ? "" : at === parts.length - 1 ? " and " : ", ", part]);
}

/// The host of a buy link, by a browser's own rules, or null. It is shown as text: links lead nowhere from here.
export function host(url) {
	if (!url) return null;
	const trimmed = url.trim();
	try {
		return new URL(trimmed.startsWith("//") ? `https:${trimmed}` : trimmed).host || null;
	} catch {
		return null;
	}
}

const UNITS = [["day", 86400], ["hour", 3600], ["minute", 60]];

/// A span of seconds: "3 minutes".
export function span(seconds) {
	for (const [unit, length] of UNITS) {
		if (seconds >= length) return count(Math.floor(seconds / length), unit);
	}
	return "seconds";
}

/// A time as long ago, with the exact one to read when pointed at.
export function ago(iso) {
	const seconds = Math.max(0, (Date.now() - Date.parse(iso)) / 1000);
	const text = Number.isNaN(seconds) ? String(iso) : `${span(seconds)} ago`;
	return h("time", { datetime: iso, title: exact(iso) }, text);
}

/// A time in the reader's own zone.
export function exact(iso) {
	const date = new Date(iso);
	return Number.isNaN(date.getTime()) ? String(iso) : date.toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" });
}

/// A button that copies a text.
export function copyButton(label, text, source) {
	const element = button(label, () => copy(text, source, element, label), "quiet");
	return element;
}

async function copy(text, source, element, label) {
	let isCopied = true;
	try {
		await navigator.clipboard.writeText(text);
	} catch {
		// Browsers give no clipboard to plain http: the text is selected, and copied the old way if that is still there.
		getSelection().selectAllChildren(source);
		isCopied = document.execCommand("copy");
	}
	element.textContent = isCopied ? "Copied" : "Selected: press Ctrl+C";
	setTimeout(() => { element.textContent = label; }, 4000);
}

/// Opens a dialog; it is gone when closed, and the focus goes back to where it was.
export function dialog(title, ...children) {
	const heading = h("h2", { id: "dialog-title" }, title);
	const element = h("dialog", { "aria-labelledby": "dialog-title" }, heading, ...children);
	const before = document.activeElement;
	element.addEventListener("close", () => {
		element.remove();
		// What opened it may be gone by now: the tray is empty after it was sent.
		if (before?.checkVisibility?.()) before.focus();
		else document.querySelector("#main").focus();
	});
	document.body.append(element);
	element.showModal();
	return element;
}
