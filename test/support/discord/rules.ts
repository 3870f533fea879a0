/** Discord's rules that its description does not hold, and the manners we expect of the bot on top of them. */

export type JsonObject = Record<string, unknown>;

const editOnlyKeys = ["content", "embeds", "components", "attachments", "flags", "allowed_mentions", "poll"];
const componentsV2 = 1 << 15;

/** Limits by which Discord refuses a message body (50035 or 50006). */
export function checkMessage(body: JsonObject, edit: boolean, fileCount: number): string[] {
  const wrong: string[] = [];
  const content = typeof body.content === "string" ? body.content : "";
  const embeds = (body.embeds ?? []) as JsonObject[];
  const flags = Number(body.flags ?? 0);
  if (content.length > 2000) wrong.push(`content has ${content.length} characters, 2000 are allowed`);
  const embedChars = embeds.reduce((sum, embed) => sum + countEmbed(embed), 0);
  if (embedChars > 6000) wrong.push(`embeds have ${embedChars} characters, 6000 are allowed`);
  for (const embed of embeds) {
    if (String(embed.description ?? "").length > 4096) wrong.push("an embed description is over 4096 characters");
    if (((embed.fields ?? []) as unknown[]).length > 25) wrong.push("an embed has over 25 fields");
  }
  const components = (body.components ?? []) as JsonObject[];
  if ((flags & componentsV2) !== 0 && (content !== "" || embeds.length > 0)) {
    wrong.push("components v2 exclude content and embeds");
  }
  wrong.push(...checkComponents(components, (flags & componentsV2) !== 0));
  const empty = content.trim() === "" && embeds.length === 0 && fileCount === 0 && components.length === 0;
  const touches = edit ? editOnlyKeys.some((key) => body[key] !== undefined) : false;
  if (empty && (!edit || (touches && body.content !== undefined))) wrong.push("Cannot send an empty message");
  const mentions = body.allowed_mentions as JsonObject | undefined | null;
  if (Array.isArray(mentions?.parse) && mentions.parse.includes("users") && mentions.users !== undefined) {
    wrong.push("allowed_mentions: parse and users exclude each other");
  }
  return wrong;
}

function countEmbed(embed: JsonObject): number {
  const fields = (embed.fields ?? []) as JsonObject[];
  const footer = (embed.footer ?? {}) as JsonObject;
  const author = (embed.author ?? {}) as JsonObject;
  const texts = [
    embed.title,
    embed.description,
    footer.text,
    author.name,
    ...fields.flatMap((one) => [one.name, one.value]),
  ];
  return texts.reduce<number>((sum, text) => sum + (typeof text === "string" ? text.trim().length : 0), 0);
}

function checkComponents(components: readonly JsonObject[], v2: boolean): string[] {
  const wrong: string[] = [];
  const all = components.flatMap(withChildren);
  if (all.length > 40) wrong.push(`${all.length} components, 40 are allowed`);
  if (!v2 && components.length > 5) wrong.push(`${components.length} rows, 5 are allowed`);
  for (const row of components) {
    if (row.type === 1 && ((row.components ?? []) as unknown[]).length > 5) wrong.push("a row has over 5 buttons");
  }
  const ids = all.map((one) => one.custom_id).filter((id): id is string => typeof id === "string");
  if (new Set(ids).size < ids.length) wrong.push("two components have the same custom_id");
  if (ids.some((id) => id.length < 1 || id.length > 100)) wrong.push("a custom_id must have 1 to 100 characters");
  return wrong;
}

function withChildren(component: JsonObject): JsonObject[] {
  const children = [...((component.components ?? []) as JsonObject[])];
  if (component.component !== undefined) children.push(component.component as JsonObject);
  return [component, ...children.flatMap(withChildren)];
}

/** What Discord would take and the bot must not do. */
export function checkManners(body: JsonObject): string[] {
  const wrong: string[] = [];
  const mentions = body.allowed_mentions as JsonObject | undefined | null;
  if (body.content !== undefined && !(Array.isArray(mentions?.parse) && mentions.parse.length === 0)) {
    wrong.push("allowed_mentions must be there and allow nothing");
  }
  if (mentions?.replied_user === true) wrong.push("a reply must not notify");
  if (/https?:\/\//.test(String(body.content ?? "")) && (Number(body.flags ?? 0) & 4) === 0) {
    wrong.push("link previews must be suppressed");
  }
  return wrong;
}

const commandName = /^[-_'\p{L}\p{N}\p{sc=Deva}\p{sc=Thai}]{1,32}$/u;
const locales =
  "id da de en-GB en-US es-ES es-419 fr hr it lt hu nl no pl pt-BR ro fi sv-SE vi tr cs el bg ru uk hi th zh-CN ja zh-TW ko".split(
    " ",
  );

/** Rules of command registration. */
export function checkCommand(command: JsonObject): string[] {
  const wrong: string[] = [];
  const chatInput = (command.type ?? 1) === 1;
  const options = (command.options ?? []) as JsonObject[];
  const named = [command, ...(chatInput ? options : [])];
  for (const one of named) {
    wrong.push(...checkLocales(one));
    for (const name of [one.name, ...values(one.name_localizations)]) {
      const valid = chatInput
        ? commandName.test(name as string) && name === String(name).toLowerCase()
        : String(name).length <= 32;
      if (!valid) wrong.push(`the name ${name} is not allowed`);
    }
    if (!chatInput) continue;
    for (const text of [one.description, ...values(one.description_localizations)]) {
      if (typeof text !== "string" || text.length < 1 || text.length > 100)
        wrong.push(`${one.name}: description ${text}`);
    }
  }
  const firstOptional = options.findIndex((option) => option.required !== true);
  if (firstOptional >= 0 && options.slice(firstOptional).some((option) => option.required === true)) {
    wrong.push(`${command.name}: required options come first`);
  }
  for (const locale of ["", ...locales]) {
    const names = options.map(
      (option) => (option.name_localizations as JsonObject | undefined)?.[locale] ?? option.name,
    );
    if (new Set(names).size < names.length)
      wrong.push(`${command.name}: two options share a name in ${locale || "default"}`);
  }
  if (countCommand(command, options) > 8000) wrong.push(`${command.name}: over 8000 characters`);
  return wrong;
}

function checkLocales(one: JsonObject): string[] {
  return ["name_localizations", "description_localizations"].flatMap((key) =>
    Object.keys((one[key] ?? {}) as JsonObject)
      .filter((locale) => !locales.includes(locale))
      .map((locale) => `${one.name}: unknown locale ${locale}`),
  );
}

function countCommand(command: JsonObject, options: readonly JsonObject[]): number {
  const longest = (one: JsonObject, key: string) =>
    Math.max(...[one[key], ...values(one[`${key}_localizations`])].map((text) => String(text ?? "").length));
  return [command, ...options].reduce((sum, one) => sum + longest(one, "name") + longest(one, "description"), 0);
}

function values(map: unknown): unknown[] {
  return Object.values((map ?? {}) as JsonObject);
}
