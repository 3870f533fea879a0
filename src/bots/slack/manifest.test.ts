import { existsSync, readFileSync } from "node:fs";
import { resolve } from "node:path";
import { expect, test } from "vitest";
import { COMMANDS } from "../commands.ts";
import { manifest } from "./manifest.ts";

type Schema = Record<string, unknown>;

const path = resolve(import.meta.dirname, "../../../../shared/specs/slack-manifest.schema.2.0.0.json");

/** The keywords Slack's schema uses for what a manifest of ours holds. */
function check(schema: Schema, value: unknown, root: Schema, where = "manifest"): string[] {
  if (typeof schema.$ref === "string") {
    const name = schema.$ref.replace("#/definitions/", "");
    const found = (root.definitions as Record<string, Schema>)[name];
    return found === undefined ? [`${where}: no definition ${name}`] : check(found, value, root, where);
  }
  if (Array.isArray(value)) return checkList(schema, value, root, where);
  if (typeof value === "object" && value !== null) return checkObject(schema, value as Schema, root, where);
  if (typeof value === "string") return checkText(schema, value, where);
  const expected = typeof value === "boolean" ? ["boolean"] : ["integer", "number"];
  return schema.type === undefined || expected.includes(String(schema.type)) ? [] : [`${where}: not ${schema.type}`];
}

function checkList(schema: Schema, list: unknown[], root: Schema, where: string): string[] {
  const wrong = schema.type === "array" ? [] : [`${where}: not ${schema.type}`];
  if (list.length < Number(schema.minItems ?? 0)) wrong.push(`${where}: too few`);
  if (list.length > Number(schema.maxItems ?? Number.POSITIVE_INFINITY)) wrong.push(`${where}: too many`);
  const items = (schema.items ?? {}) as Schema;
  return [...wrong, ...list.flatMap((item, index) => check(items, item, root, `${where}[${index}]`))];
}

function checkObject(schema: Schema, object: Schema, root: Schema, where: string): string[] {
  const wrong = schema.type === "object" ? [] : [`${where}: not ${schema.type}`];
  const properties = (schema.properties ?? {}) as Record<string, Schema>;
  for (const name of (schema.required ?? []) as string[]) {
    if (object[name] === undefined) wrong.push(`${where}: ${name} is missing`);
  }
  for (const [name, value] of Object.entries(object)) {
    const inner = properties[name];
    if (inner !== undefined) wrong.push(...check(inner, value, root, `${where}.${name}`));
    else if (schema.additionalProperties === false) wrong.push(`${where}: ${name} is not known`);
  }
  return wrong;
}

function checkText(schema: Schema, text: string, where: string): string[] {
  const wrong = schema.type === "string" ? [] : [`${where}: not ${schema.type}`];
  if (text.length < Number(schema.minLength ?? 0)) wrong.push(`${where}: too short`);
  if (text.length > Number(schema.maxLength ?? Number.POSITIVE_INFINITY)) wrong.push(`${where}: too long`);
  const pattern = schema.pattern ?? schema.regex;
  if (typeof pattern === "string" && !new RegExp(pattern).test(text)) wrong.push(`${where}: not like ${pattern}`);
  if (Array.isArray(schema.enum) && !schema.enum.includes(text)) wrong.push(`${where}: not one of ${schema.enum}`);
  return wrong;
}

const variants = [
  manifest(),
  manifest({ name: "My model", commandPrefix: "snug-", requestUrl: "https://example.org/slack/events" }),
];

test.skipIf(!existsSync(path))("is valid against Slack's schema", () => {
  const schema = JSON.parse(readFileSync(path, "utf8")) as Schema;
  for (const variant of variants) expect(check(schema, variant, schema)).toEqual([]);
  expect(check(schema, { display_information: { name: "x".repeat(36) }, extra: 1 }, schema)).toHaveLength(2);
});

interface Manifest {
  features: { slash_commands: { command: string; description: string; usage_hint?: string; url?: string }[] };
  settings: {
    socket_mode_enabled: boolean;
    event_subscriptions: { bot_events: string[] };
    interactivity: { is_enabled: boolean };
  };
  oauth_config: { scopes: { bot: string[] } };
}

test("has every command that is there, in English and Chinese, and hints at its options", () => {
  const { features } = manifest() as unknown as Manifest;
  const expected = COMMANDS.filter(({ needs }) => needs === undefined).map(({ key }) => `/${key}`);
  expect(features.slash_commands.map(({ command }) => command)).toEqual(expected);
  expect(features.slash_commands.length).toBeLessThanOrEqual(25);
  expect(features.slash_commands[0]).toMatchObject({
    description: expect.stringMatching(/\p{Script=Han}/u),
    usage_hint: "[--model …] [--private] prompt",
  });
});

test("asks for Socket Mode unless there is an address, which then stands everywhere", () => {
  const [socket, http] = variants as unknown as [Manifest, Manifest];
  expect(socket.settings.socket_mode_enabled).toBe(true);
  expect(JSON.stringify(socket)).not.toContain("https://");
  expect(http.settings.socket_mode_enabled).toBe(false);
  expect(http.features.slash_commands[0]).toMatchObject({
    command: "/snug-ask",
    url: "https://example.org/slack/events",
  });
});

test("subscribes to Slack's Stop button and switches interactivity on, without which feedback is dead", () => {
  const { settings, oauth_config } = manifest() as unknown as Manifest;
  expect(settings.event_subscriptions.bot_events).toContain("agent_session_stopped");
  expect(settings.interactivity.is_enabled).toBe(true);
  expect(oauth_config.scopes.bot).toEqual(expect.arrayContaining(["chat:write", "commands", "users:read"]));
});
