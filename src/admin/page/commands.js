// The same changes as commands, for lists that are kept elsewhere.

const COMMANDS = { show: "allow", retire: "retire", hide: "hide", forget: "forget" };

/// Writes an edit as commands for a shell. SECURITY: codes are somebody else's, and whoever copies a command runs it.
export function commands(edit) {
	const shop = edit.shop === "default" ? "" : ` --shop ${edit.shop}`;
	const lines = Object.entries(COMMANDS).filter(([verb]) => edit[verb].length);
	const codes = (list) => `${list.some((code) => code.startsWith("-")) ? "-- " : ""}${list.map(quote).join(" ")}`;
	return lines.map(([verb, command]) => `catalog-proxy ${command}${shop} ${codes(edit[verb])}`).join("\n");
}

function quote(code) {
	if (/^[A-Za-z0-9_.][A-Za-z0-9_.-]*$/.test(code)) return code;
	// A terminal acts on control characters even between quotes, so these are written as escapes.
	const escaped = code.replace(/[\p{C}\p{Zl}\p{Zp}'\\]/gu, (char) => (char === "'" || char === "\\" ? `\\${char}` : [...new TextEncoder().encode(char)].map((byte) => `\\x${byte.toString(16).padStart(2, "0")}`).join("")));
	return escaped === code ? `'${code}'` : `$'${escaped}'`;
}
