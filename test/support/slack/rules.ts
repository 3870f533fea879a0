/** Slack's own bounds of blocks and texts, and the manners a bot must keep besides. */
import type { Block, JsonObject } from "./world.ts";

const markdownCharsMax = 12_000;

/** What Slack would refuse. */
export function checkBlocks(blocks: readonly Block[]): string[] {
  const wrong: string[] = [];
  if (blocks.length > 50) wrong.push(`${blocks.length} blocks, 50 are allowed`);
  const markdown = blocks.filter(({ type }) => type === "markdown").map(({ text }) => String(text).length);
  const chars = markdown.reduce((sum, length) => sum + length, 0);
  if (chars > markdownCharsMax) wrong.push(`${chars} characters of Markdown, ${markdownCharsMax} are allowed`);
  for (const block of blocks) wrong.push(...checkBlock(block));
  const ids = blocks.flatMap(elementsOf).map(({ action_id }) => action_id);
  if (new Set(ids).size < ids.length) wrong.push("two elements have the same action_id");
  return wrong;
}

function elementsOf(block: Block): JsonObject[] {
  return block.type === "actions" || block.type === "context_actions" ? (block.elements as JsonObject[]) : [];
}

function checkBlock(block: Block): string[] {
  switch (block.type) {
    case "markdown":
      return String(block.text ?? "") === "" ? ["an empty markdown block"] : [];
    case "section":
      return checkText(block.text as JsonObject, 3_000, "section");
    case "header":
      return checkText(block.text as JsonObject, 150, "header");
    case "context":
      return checkContext(block);
    case "image":
      return String(block.alt_text ?? "") === "" ? ["an image without a text"] : [];
    case "divider":
    case "input":
      return [];
    case "actions":
      return checkElements(block, 25, ["button"]);
    case "context_actions":
      return checkElements(block, 5, ["feedback_buttons", "icon_button"]);
    default:
      return [`an unknown block ${block.type}`];
  }
}

function checkContext(block: Block): string[] {
  const elements = (block.elements ?? []) as JsonObject[];
  if (elements.length < 1 || elements.length > 10) return [`${elements.length} elements in a context block`];
  return elements.flatMap((element) => checkText(element, 2_000, "context"));
}

function checkText(text: JsonObject | undefined, charsMax: number, where: string): string[] {
  const length = String(text?.text ?? "").length;
  if (text?.type !== "mrkdwn" && text?.type !== "plain_text") return [`${where}: no text object`];
  return length < 1 || length > charsMax ? [`${where}: ${length} characters, 1 to ${charsMax} are allowed`] : [];
}

function checkElements(block: Block, countMax: number, types: readonly string[]): string[] {
  const elements = (block.elements ?? []) as JsonObject[];
  if (elements.length < 1 || elements.length > countMax) return [`${block.type}: ${elements.length} elements`];
  return elements.flatMap((element) => {
    const wrong = types.includes(String(element.type)) ? [] : [`${block.type}: an element ${element.type}`];
    const buttons =
      element.type === "feedback_buttons" ? [element.positive_button, element.negative_button] : [element];
    if (String(element.action_id ?? "").length > 255) wrong.push("an action_id over 255 characters");
    for (const button of buttons as JsonObject[]) {
      wrong.push(...checkText(button.text as JsonObject, 75, "button"));
      if (String(button.value ?? "").length > 2_000) wrong.push("a button's value over 2000 characters");
    }
    return wrong;
  });
}

const pings = /<!(channel|here|everyone|subteam)|<@[UW][A-Z0-9]+|<#C[A-Z0-9]+/;

/** What Slack would take and the bot must not do: call people, unfold links, leave control characters in mrkdwn. */
export function checkManners(args: JsonObject, blocks: readonly Block[]): string[] {
  const wrong: string[] = [];
  const texts = [String(args.text ?? ""), String(args.markdown_text ?? ""), JSON.stringify(blocks)];
  if (texts.some((text) => pings.test(text))) wrong.push("the text calls people");
  const mrkdwn = [String(args.text ?? ""), ...blocks.flatMap(mrkdwnOf)];
  if (mrkdwn.some((text) => /[<>]|&(?!amp;|lt;|gt;)/.test(text))) wrong.push("mrkdwn is not escaped");
  return wrong;
}

function mrkdwnOf(block: Block): string[] {
  const objects = block.type === "section" ? [block.text] : block.type === "context" ? block.elements : [];
  return (objects as JsonObject[]).filter(({ type }) => type === "mrkdwn").map(({ text }) => String(text));
}
