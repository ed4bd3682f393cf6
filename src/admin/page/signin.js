// Signing in: the token comes from a form or from the link, and goes nowhere but into the header of our own requests.

import { get, hasToken, keepToken } from "./api.js";
import { button, dialog, fill, foreign, h } from "./dom.js";
import { store } from "./store.js";

/// A form that asks for the token, and calls back once it is known to be somebody's.
export function signInForm(done = () => {}) {
	const input = h("input", { type: "password", id: `token-${Math.random().toString(36).slice(2)}`, autocomplete: "off", spellcheck: "false", required: true });
	const message = h("p", { class: "error", role: "alert" });
	const go = h("button", { class: "go" }, "Sign in");
	const form = h("form", { class: "sign-in" },
		h("label", { for: input.id }, "Your token"), input, go, message,
		h("p", { class: "soft" }, h("code", {}, "catalog-proxy token NAME"), " makes one. It is kept until this tab is closed."));
	form.addEventListener("submit", async (event) => {
		event.preventDefault();
		go.disabled = true;
		keepToken(input.value.trim() || null);
		try {
			const { status } = await get("status");
			if (!status.person) throw new Error("this token is not known here");
			input.value = "";
			await signedIn();
			done();
		} catch (problem) {
			keepToken(null);
			message.textContent = problem.status === 401 ? "This token is not known here." : `${problem.message[0].toUpperCase()}${problem.message.slice(1)}.`;
			input.select();
		}
		go.disabled = false;
	});
	return form;
}

export async function signedIn() {
	await store.loadStatus();
	store.tell("signed-in");
	await Promise.allSettled([store.loadShops().then(() => store.loadCatalog()), store.loadNews()]);
}

export function openSignIn() {
	const opened = dialog("Sign in", signInForm(() => opened.close()),
		button("Cancel", () => opened.close(), "quiet"));
	opened.querySelector("input").focus();
}

/// What is shown in the place of something that the server did not give.
export function problemCard(problem, done) {
	if (problem.status === 401) {
		return h("div", { class: "card" }, h("h2", {}, "Sign in to see this"), signInForm(done));
	}
	return h("div", { class: "card" }, h("h2", {}, "This cannot be shown now"), h("p", {}, foreign(problem.message)));
}

/// Shows in the header who is signed in.
export function paintAccount(element) {
	const { status } = store;
	if (!status) return;
	const { person } = status;
	const focused = element.contains(document.activeElement);
	if (person) {
		const leave = button("Sign out", signOut, "quiet");
		fill(element, h("span", { class: "soft" }, foreign(person.name)), hasToken() && leave);
	} else if (!status.locked || status.reading_needs_token) {
		fill(element, button("Sign in", openSignIn, "quiet"));
	} else {
		fill(element);
	}
	if (focused) element.querySelector("button")?.focus();
}

function signOut() {
	keepToken(null);
	// Nothing that needed the token stays behind.
	location.reload();
}
