/** A channel of the stand-in as an SVG picture, near to what Discord shows. For documentation. */
import { escapeXml, textWidth } from "../../../src/fit/picture.ts";
import type { JsonObject } from "./rules.ts";
import type { StandFile, StandMessage, StandUser, World } from "./world.ts";

const width = 760;
const left = 76;
const textRoom = width - left - 24;
const size = 15;
const lineHeight = 22;

const colours = {
  page: "#313338",
  text: "#dbdee1",
  quiet: "#949ba4",
  name: "#f2f3f5",
  box: "#2b2d31",
  button: "#4e5058",
  danger: "#da373c",
  accent: "#5865f2",
  spoiler: "#1e1f22",
};
const sans = "'Noto Sans','Noto Sans SC','PingFang SC','Microsoft YaHei','Helvetica Neue',Arial,sans-serif";
const mono = "'DejaVu Sans Mono',Consolas,monospace";

interface Drawn {
  svg: string;
  height: number;
}

/** One run of text in one style. */
interface Span {
  text: string;
  bold?: boolean;
  code?: boolean;
  hidden?: boolean;
}

export function drawChannel(messages: readonly StandMessage[], world: World, title: string): string {
  let y = 16;
  const parts: string[] = [];
  for (const message of messages) {
    const drawn = drawMessage(message, world, y);
    parts.push(drawn.svg);
    y += drawn.height + 14;
  }
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${y}" viewBox="0 0 ${width} ${y}" role="img" font-family="${sans}" font-size="${size}">`,
    `<title>${escapeXml(title)}</title>`,
    `<rect width="${width}" height="${y}" rx="8" fill="${colours.page}"/>`,
    ...parts,
    "</svg>\n",
  ].join("\n");
}

function drawMessage(message: StandMessage, world: World, top: number): Drawn {
  const parts: string[] = [];
  let y = top;
  const { interaction } = message;
  if (interaction?.name !== undefined) {
    const caption = `${interaction.user.name} used /${interaction.name}`;
    parts.push(
      `<text x="${left}" y="${y + 12}" font-size="13" fill="${colours.quiet}">${escapeXml(`↱ ${caption}`)}</text>`,
    );
    y += 20;
  }
  parts.push(drawAuthor(message.author, y));
  y += 24;
  for (const block of blocksOf(withNames(message.content, world))) {
    const drawn = drawBlock(block, y);
    parts.push(drawn.svg);
    y += drawn.height;
  }
  for (const file of message.attachments) {
    const drawn = drawFile(file, y + 6);
    parts.push(drawn.svg);
    y += drawn.height + 6;
  }
  const rows = message.components as { components: JsonObject[] }[];
  for (const row of rows) {
    parts.push(drawButtons(row.components, y + 8));
    y += 42;
  }
  if ((message.flags & 64) !== 0) {
    parts.push(`<text x="${left}" y="${y + 16}" font-size="12" fill="${colours.quiet}">Only you can see this</text>`);
    y += 22;
  }
  return { svg: parts.join("\n"), height: y - top };
}

function drawAuthor({ name, bot }: StandUser, y: number): string {
  const badge = left + textWidth(name, size) * 1.06 + 10;
  return [
    `<circle cx="40" cy="${y + 18}" r="20" fill="${bot ? colours.accent : "#3ba55c"}"/>`,
    `<text x="40" y="${y + 24}" text-anchor="middle" font-size="17" font-weight="600" fill="#fff">${escapeXml(name[0]!)}</text>`,
    `<text x="${left}" y="${y + 14}" font-weight="600" fill="${colours.name}">${escapeXml(name)}</text>`,
    ...(bot
      ? [
          `<rect x="${badge}" y="${y + 1}" width="34" height="16" rx="4" fill="${colours.accent}"/>`,
          `<text x="${badge + 17}" y="${y + 13}" text-anchor="middle" font-size="11" font-weight="600" fill="#fff">APP</text>`,
        ]
      : []),
  ].join("\n");
}

function withNames(content: string, world: World): string {
  return content.replace(/<@(\d+)>/g, (whole, id: string) => {
    const name = world.users.find((user) => user.id === id)?.name;
    return name === undefined ? whole : `@${name}`;
  });
}

type Block = { kind: "text" | "quote" | "small" | "item" | "code"; text: string };

/** Discord's Markdown by lines; only what the bots write. */
function blocksOf(content: string): Block[] {
  const blocks: Block[] = [];
  let code: string[] | undefined;
  for (const line of content.split("\n")) {
    if (line.startsWith("```")) {
      if (code === undefined) code = [];
      else {
        blocks.push({ kind: "code", text: code.join("\n") });
        code = undefined;
      }
    } else if (code !== undefined) code.push(line);
    else if (line.startsWith("> ")) blocks.push({ kind: "quote", text: line.slice(2) });
    else if (line.startsWith("-# ")) blocks.push({ kind: "small", text: line.slice(3) });
    else if (line.startsWith("- ")) blocks.push({ kind: "item", text: line.slice(2) });
    else blocks.push({ kind: "text", text: line });
  }
  return blocks;
}

function drawBlock({ kind, text }: Block, top: number): Drawn {
  if (kind === "code") return drawCode(text.split("\n"), top);
  const fontSize = kind === "small" ? 12 : size;
  const indent = kind === "quote" ? 14 : kind === "item" ? 18 : 0;
  const lines = wrap(spansOf(text), textRoom - indent, fontSize);
  const height = lines.length * (kind === "small" ? 18 : lineHeight);
  const marks = [
    ...(kind === "quote"
      ? [`<rect x="${left}" y="${top + 2}" width="4" height="${height - 4}" rx="2" fill="#4e5058"/>`]
      : []),
    ...(kind === "item" ? [`<circle cx="${left + 6}" cy="${top + 12}" r="2.5" fill="${colours.text}"/>`] : []),
  ];
  const drawn = lines.map((spans, index) =>
    drawLine(spans, left + indent, top + 16 + index * (kind === "small" ? 18 : lineHeight), fontSize, kind === "small"),
  );
  return { svg: [...marks, ...drawn].join("\n"), height };
}

/** One text element, so that the viewer's own font decides where the next run begins. */
function drawLine(spans: readonly Span[], x: number, y: number, fontSize: number, quiet: boolean): string {
  const runs = spans.map(({ text, bold, code, hidden }) => {
    const style = [
      ...(bold === true ? ['font-weight="700"'] : []),
      ...(code === true ? [`font-family="${mono}" font-size="${fontSize - 1}" fill="${colours.name}"`] : []),
      ...(hidden === true ? [`fill="${colours.spoiler}"`] : []),
    ].join(" ");
    return `<tspan${style === "" ? "" : ` ${style}`}>${escapeXml(hidden === true ? "█".repeat(text.length) : text)}</tspan>`;
  });
  const colour = quiet ? colours.quiet : colours.text;
  return `<text x="${x}" y="${y}" xml:space="preserve" font-size="${fontSize}" fill="${colour}">${runs.join("")}</text>`;
}

function spansOf(text: string): Span[] {
  const spans: Span[] = [];
  for (const match of text.matchAll(/\*\*(.+?)\*\*|`([^`]+)`|\|\|(.+?)\|\||((?:(?!\*\*|`|\|\|)[\s\S])+)/g)) {
    const [, bold, code, hidden, plain] = match;
    const unescaped = (raw: string) => raw.replace(/\\([\\`*~|[\]<>_])/g, "$1");
    if (bold !== undefined) spans.push({ text: unescaped(bold), bold: true });
    else if (code !== undefined) spans.push({ text: code, code: true });
    else if (hidden !== undefined) spans.push({ text: hidden, hidden: true });
    else if (plain !== undefined) spans.push({ text: unescaped(plain) });
  }
  return spans;
}

/** Breaks at spaces, and between Chinese characters. */
function wrap(spans: readonly Span[], room: number, fontSize: number): Span[][] {
  const lines: Span[][] = [[]];
  let used = 0;
  for (const span of spans) {
    for (const word of span.text.match(
      /[\p{Script=Han}，。、：；！？（）]|[^\s\p{Script=Han}，。、：；！？（）]+\s*|\s+/gu,
    ) ?? []) {
      const piece = { ...span, text: word };
      const long = spanWidth(piece, fontSize);
      if (used + long > room && used > 0) {
        lines.push([]);
        used = 0;
      }
      const line = lines.at(-1)!;
      const last = line.at(-1);
      if (last !== undefined && last.bold === span.bold && last.code === span.code && last.hidden === span.hidden) {
        last.text += word;
      } else line.push(piece);
      used += long;
    }
  }
  return lines;
}

function spanWidth({ text, bold, code }: Span, fontSize: number): number {
  if (code === true) return text.length * (fontSize - 1) * 0.602;
  return textWidth(text, fontSize) * (bold === true ? 1.08 : 1.02);
}

function drawCode(lines: readonly string[], top: number): Drawn {
  const height = lines.length * 19 + 16;
  const text = lines.map(
    (line, index) =>
      `<text x="${left + 10}" y="${top + 22 + index * 19}" xml:space="preserve" font-size="13" font-family="${mono}" fill="${colours.text}">${escapeXml(line)}</text>`,
  );
  return {
    svg: [
      `<rect x="${left}" y="${top + 3}" width="${textRoom}" height="${height - 2}" rx="4" fill="${colours.box}"/>`,
      ...text,
    ].join("\n"),
    height: height + 6,
  };
}

function drawFile(file: StandFile, top: number): Drawn {
  if (file.contentType === "image/png") {
    const view = new DataView(file.bytes.buffer, file.bytes.byteOffset);
    const shown = 480;
    const height = Math.round((view.getUint32(20) / view.getUint32(16)) * shown);
    const data = Buffer.from(file.bytes).toString("base64");
    return {
      svg: `<image x="${left}" y="${top}" width="${shown}" height="${height}" href="data:image/png;base64,${data}"/>`,
      height,
    };
  }
  const label = `${file.name} · ${Math.ceil(file.bytes.length / 1024)} KB`;
  return {
    svg: `<rect x="${left}" y="${top}" width="300" height="40" rx="6" fill="${colours.box}"/>\n<text x="${left + 14}" y="${top + 25}" fill="#00a8fc">${escapeXml(label)}</text>`,
    height: 40,
  };
}

function drawButtons(buttons: readonly JsonObject[], top: number): string {
  let x = left;
  const parts: string[] = [];
  for (const button of buttons) {
    const emoji = (button.emoji as { name?: string } | undefined)?.name ?? "";
    const label = [emoji, button.label ?? ""].filter((part) => part !== "").join(" ");
    const long = textWidth(label, 14) * 1.05 + 28;
    parts.push(
      `<rect x="${x}" y="${top}" width="${long}" height="30" rx="6" fill="${button.style === 4 ? colours.danger : colours.button}"/>`,
      `<text x="${x + long / 2}" y="${top + 20}" text-anchor="middle" font-size="14" fill="#fff">${escapeXml(label)}</text>`,
    );
    x += long + 8;
  }
  return parts.join("\n");
}
