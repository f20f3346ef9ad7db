// Texts of tokens as they can be seen: white space as signs, characters that show nothing or turn the direction of the
// text as escapes. Everything becomes text nodes; nothing is ever parsed as markup.

// Controls, formats (zero-width, bidirectional), private and unassigned characters, lone surrogates, separators, spaces
// other than U+0020, and whatever is drawn as nothing.
const UNSEEN = /[\p{C}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]|(?! )\p{Zs}/u;
const SIGNS = new Map([[" ", "·"], ["\n", "↵"], ["\t", "⇥"], ["\r", "␍"]]);
// An incomplete character, as the API writes it.
const BYTES = /^bytes:((?:\\x[0-9a-f]{2})+)$/;

function escapeOf(character) {
  const code = character.codePointAt(0);
  return code < 0x100 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u{${code.toString(16)}}`;
}

// A list of {text, kind}: "plain", "space" (a sign for white space) or "escape".
export function pieces(text) {
  const bytes = BYTES.exec(text);
  if (bytes) return [{ text: bytes[1], kind: "escape" }];
  const out = [];
  const add = (kind, part) => {
    const last = out.at(-1);
    if (last?.kind === kind) {
      last.text += part;
    } else {
      out.push({ kind, text: part });
    }
  };
  let first = true;
  for (const character of text) {
    if (SIGNS.has(character)) {
      add("space", SIGNS.get(character));
    } else if (UNSEEN.test(character)) {
      add("escape", escapeOf(character));
    } else {
      // A mark without its letter would be drawn over the neighbour.
      add("plain", first && /\p{M}/u.test(character) ? `◌${character}` : character);
    }
    first = false;
  }
  if (out.length === 0) out.push({ text: "(empty)", kind: "escape" });
  return out;
}

// The pieces as one text, for labels.
export function spelled(text) {
  return pieces(text).map((piece) => piece.text).join("");
}

// Appends the text to `parent`. Lines may break before white space.
export function show(text, parent) {
  for (const piece of pieces(text)) {
    if (piece.kind === "plain") {
      parent.append(piece.text);
      continue;
    }
    if (piece.kind === "space" && parent.childNodes.length > 0) parent.append(document.createElement("wbr"));
    const sign = document.createElement("span");
    sign.className = piece.kind;
    sign.textContent = piece.text;
    parent.append(sign);
  }
}

// Bytes of a token's text; those of an incomplete character as they are.
export function byteLength(text) {
  const bytes = BYTES.exec(text);
  return bytes ? bytes[1].length / 4 : new TextEncoder().encode(text).length;
}
