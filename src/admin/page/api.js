// Calls of the API, and who makes them.

/// Where the token is kept: until the tab is closed, and for this page only.
const TOKEN_KEY = "catalog-proxy-token";

let token = null;

/// What the API answered instead of what was asked for.
export class Problem extends Error {
	constructor(status, body) {
		super(body?.detail || "the proxy answered in a way that this page does not know");
		this.status = status;
		this.body = body ?? {};
	}
}

/// Takes the token out of the link, and out of the address bar at once. Returns true if there was one.
export function takeToken() {
	try {
		token ??= sessionStorage.getItem(TOKEN_KEY);
	} catch { /* The browser keeps nothing for this page: the token lasts until it is reloaded. */ }
	const given = new URLSearchParams(location.hash.slice(1)).get("token");
	if (given === null) return false;
	history.replaceState(null, "", `${location.pathname}${location.search}#catalog`);
	keepToken(given.trim() || null);
	return true;
}

export function hasToken() {
	return token !== null;
}

export function keepToken(text) {
	token = text;
	try {
		if (text) sessionStorage.setItem(TOKEN_KEY, text);
		else sessionStorage.removeItem(TOKEN_KEY);
	} catch { /* As above. */ }
}

/// Asks for something to read.
export function get(call, parameters = {}) {
	const query = new URLSearchParams(parameters).toString();
	return send(query ? `${call}?${query}` : call, { method: "GET" });
}

/// Asks for a change, of the version that `digest` names, or for a preview.
export function post(call, body, digest) {
	const headers = { "Content-Type": "application/json" };
	if (digest) headers["If-Match"] = `"${digest}"`;
	return send(call, { method: "POST", headers, body: JSON.stringify(body) });
}

async function send(call, options) {
	const headers = { Accept: "application/json", ...options.headers };
	if (token) headers.Authorization = `Bearer ${token}`;
	let response;
	try {
		// SECURITY: a redirect is not followed, or the token might follow it.
		response = await fetch(new URL(`api/v1/${call}`, document.baseURI), {
			...options, headers, redirect: "manual", cache: "no-store", referrerPolicy: "no-referrer",
		});
	} catch {
		throw new Problem(0, { detail: "the proxy cannot be reached" });
	}
	if (response.type === "opaqueredirect") {
		throw new Problem(0, { detail: "a proxy in front of this page wants you to sign in again: reload the page" });
	}
	const body = await response.json().catch(() => null);
	if (!response.ok || body === null) throw new Problem(response.status, body);
	return body;
}
