/** A request decoded from JSON to its checked form; what is wrong is an AppError that names the field. */
import type * as z from "zod";
import { AppError } from "../core/errors.ts";
import { type FieldRules, tidyFields } from "./door-fields.ts";
import {
  type FitsPlanRequest,
  fitsDeviceSchema,
  fitsHardwareSchema,
  fitsPlanRequestSchema,
  fitsQueryRequestSchema,
  fitsSettingsSchema,
} from "./door-schema.ts";

export type FitsRequest = { query: string; notes: string[] } | { plan: FitsPlanRequest; notes: string[] };

const settingNames = Object.keys(fitsSettingsSchema.shape);
const planNames = Object.keys(fitsPlanRequestSchema.shape);
const queryNames = Object.keys(fitsQueryRequestSchema.shape);

/** @throws AppError invalid_request; `param` is the field at fault */
export function readFitsRequest(body: unknown): FitsRequest {
  if (!isObject(body)) throw new AppError("invalid_request", "A request is a JSON object.");
  const notes: string[] = [];
  if ("query" in body) {
    const refused = [...planNames, ...settingNames].filter((name) => name !== "id");
    const tidy = tidyFields(body, { where: "", known: queryNames, refused }, notes);
    return { query: check(fitsQueryRequestSchema, tidy).query, notes };
  }
  const given = tidyFields(body, { where: "", known: [...planNames, ...settingNames] }, notes);
  const request = collectSettings(given);
  if (isObject(request.settings)) request.settings = tidySettings(request.settings, notes);
  if (typeof request.hardware === "object") request.hardware = tidyHardware(request.hardware, notes);
  if (isObject(request.model)) request.model = tidyModel(request.model, notes);
  return { plan: check(fitsPlanRequestSchema, request), notes };
}

/** Settings that stand beside the model are taken as what they are. */
function collectSettings(given: Record<string, unknown>): Record<string, unknown> {
  const loose = settingNames.filter((name) => name in given);
  if (loose.length === 0) return given;
  const { settings = {}, ...request } = given;
  if (!isObject(settings)) return given;
  const both = loose.find((name) => name in settings);
  if (both !== undefined) throw wrong(both, "it is given twice");
  const moved = Object.fromEntries(loose.map((name) => [name, given[name]]));
  for (const name of loose) delete request[name];
  return { ...request, settings: { ...settings, ...moved } };
}

function tidySettings(settings: object, notes: string[]): Record<string, unknown> {
  const tidy = tidyFields(settings, { where: "settings", known: settingNames }, notes);
  // Left to the planner, as if it were not there.
  return Object.fromEntries(Object.entries(tidy).filter(([, value]) => value !== "auto"));
}

/** A list of devices, or one device, where a whole machine is expected. */
function tidyHardware(hardware: unknown, notes: string[]): unknown {
  if (Array.isArray(hardware)) return { devices: tidyDevices(hardware, notes) };
  if (!isObject(hardware)) return hardware;
  const deviceNames = Object.keys(fitsDeviceSchema.shape);
  if (!("devices" in hardware) && !("gpus" in hardware) && "vramBytesTotal" in hardware) {
    const device = Object.entries(hardware).filter(([name]) => deviceNames.includes(name));
    const machine = Object.entries(hardware).filter(([name]) => !deviceNames.includes(name));
    return tidyHardware({ ...Object.fromEntries(machine), devices: [Object.fromEntries(device)] }, notes);
  }
  const rules: FieldRules = {
    where: "hardware",
    known: Object.keys(fitsHardwareSchema.shape),
    otherNames: { gpus: "devices" },
  };
  const tidy = tidyFields(hardware, rules, notes);
  return Array.isArray(tidy.devices) ? { ...tidy, devices: tidyDevices(tidy.devices, notes) } : tidy;
}

function tidyDevices(devices: readonly unknown[], notes: string[]): unknown[] {
  const known = Object.keys(fitsDeviceSchema.shape);
  // More than any machine has; the schema refuses them by their number.
  return devices.slice(0, 65).map((device, index) => {
    if (!isObject(device)) return device;
    return tidyFields(device, { where: `hardware.devices[${index}]`, known }, notes);
  });
}

const modelForms = ["gguf", "config", "metadata"];

function tidyModel(model: object, notes: string[]): unknown {
  const known = [...modelForms, "name", "parameterCount", "fileBytes"];
  const tidy = tidyFields(model, { where: "model", known }, notes);
  // A name in an object is a name.
  if (Object.keys(tidy).length === 1 && typeof tidy.name === "string") return tidy.name;
  if (!("gguf" in tidy)) return tidy;
  const { name: _name, parameterCount: _count, fileBytes: _bytes, ...file } = tidy;
  return file;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function wrong(param: string, message: string): AppError {
  return new AppError("invalid_request", `${param} is wrong: ${message}.`, { param });
}

/** Checks a body; the first thing wrong becomes an AppError that names the field. */
function check<T>(schema: z.ZodType<T>, body: object): T {
  const result = schema.safeParse(body);
  if (result.success) return result.data;
  const { path, message } = deepest(result.error.issues);
  const param = pathText(path);
  if (param === "") throw new AppError("invalid_request", `The request is wrong: ${message}.`);
  throw wrong(param, message);
}

type Issue = z.core.$ZodIssue;

/** Of alternatives the one that went furthest is the one that was meant. */
function deepest(issues: readonly Issue[]): { path: PropertyKey[]; message: string } {
  const [issue] = issues;
  if (issue === undefined) return { path: [], message: "it does not have the expected form" };
  const message = issue.message.replace(/^Invalid input: /, "").replace(/\.$/, "");
  if (issue.code === "unrecognized_keys") {
    return { path: [...issue.path, issue.keys[0] ?? ""], message: "there is no such field" };
  }
  if (issue.code !== "invalid_union") return { path: issue.path, message };
  const inner = issue.errors
    .map((alternative) => deepest(alternative))
    .sort((a, b) => b.path.length - a.path.length)[0];
  if (inner !== undefined && inner.path.length > 0)
    return { path: [...issue.path, ...inner.path], message: inner.message };
  return { path: issue.path, message: message === "Invalid input" ? alternatives(issue.path) : message };
}

function alternatives(path: readonly PropertyKey[]): string {
  if (path[0] === "model") return "expected a name, or an object with gguf, config or metadata";
  if (path[0] === "hardware") return "expected a name, or an object with devices";
  return "none of the allowed forms";
}

function pathText(path: readonly PropertyKey[]): string {
  return path.reduce<string>((text, key) => {
    if (typeof key === "number") return `${text}[${key}]`;
    return text === "" ? String(key) : `${text}.${String(key)}`;
  }, "");
}
