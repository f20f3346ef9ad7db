// A request as text that can be pasted: curl, and Python with the openai client. Both take the bearer token from the
// environment variable LOGITD_TOKEN, never from the page.

import { hasBearer } from "./api.js";
import { bodyText } from "./requests.js";

// Only ASCII: invisible characters and those that turn the direction of text show as escapes.
function ascii(json) {
  return json.replace(/[^\x20-\x7e]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

export function curl(body) {
  const json = ascii(bodyText(body)).replaceAll("'", "'\\''");
  const token = hasBearer() ? ' \\\n  -H "Authorization: Bearer $LOGITD_TOKEN"' : "";
  return `curl ${location.origin}/v1/completions -H 'Content-Type: application/json'${token} \\\n  -d '${json}'\n`;
}

// A value as Python writes it.
function literal(value) {
  if (value === null) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (Array.isArray(value)) return `[${value.map(literal).join(", ")}]`;
  if (typeof value === "object") {
    return `{${Object.entries(value).map(([name, one]) => `${literal(name)}: ${literal(one)}`).join(", ")}}`;
  }
  if (typeof value === "number") return String(value);
  // JSON's escapes are Python's, except pairs of surrogates.
  return JSON.stringify(value)
    .replace(/[\u{10000}-\u{10ffff}]/gu, (c) => `\\U${c.codePointAt(0).toString(16).padStart(8, "0")}`)
    .replace(/[^\x20-\x7e]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

// Fields of OpenAI's own API; the client takes all others in extra_body.
const OPENAI_FIELDS = ["model", "prompt", "max_tokens", "temperature", "seed", "echo", "logprobs"];

export function python({ seed, ...fields }) {
  const lines = [];
  const extra = {};
  for (const [name, value] of Object.entries(fields)) {
    if (value === undefined) continue;
    if (OPENAI_FIELDS.includes(name)) {
      lines.push(`    ${name}=${literal(value)},`);
    } else {
      extra[name] = value;
    }
  }
  if (seed) lines.push(`    seed=${seed},`);
  if (Object.keys(extra).length) lines.push(`    extra_body=${literal(extra)},`);
  const key = hasBearer() ? 'os.environ["LOGITD_TOKEN"]' : '"none"';
  return `${hasBearer() ? "import os\n\n" : ""}from openai import OpenAI

client = OpenAI(base_url="${location.origin}/v1", api_key=${key})
reply = client.completions.create(
${lines.join("\n")}
)
print(reply.model_dump_json(indent=2))
`;
}
