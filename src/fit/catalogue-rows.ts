/** `data/models.json`, with what a family or a sibling says once filled in. */

import data from "./data/models.json" with { type: "json" };
import type { ShapeFacts } from "./shape-facts.ts";

/** What a model is made or good for. */
export type CatalogueUse =
  | "chat"
  | "code"
  | "reasoning"
  | "vision"
  | "audio"
  | "embedding"
  | "long-context"
  | "translation";

export interface CatalogueRow {
  name: string;
  aliases: readonly string[];
  family: string;
  release: string;
  shape: ShapeFacts;
  params: number;
  license?: string;
  hf?: string;
  gguf?: string;
  uses: readonly CatalogueUse[];
  /** Bytes of the projector file at F16. */
  projector?: number;
  source: string;
}

/** A row as written: what it leaves out comes from the row named in `like`, then from its family. */
type RawRow = Partial<Omit<CatalogueRow, "shape">> & {
  name: string;
  family: string;
  like?: string;
  shape?: Partial<ShapeFacts>;
};
type RawFamily = Partial<Pick<CatalogueRow, "license" | "uses" | "source">> & { shape?: Partial<ShapeFacts> };

/** Sources that serve many rows are written once and named. */
const sources = data.sources as unknown as Readonly<Record<string, string>>;
const families = data.families as unknown as Readonly<Record<string, RawFamily>>;
const rows = data.models as unknown as readonly RawRow[];

/** Every row, whole. */
export function readRows(): CatalogueRow[] {
  const byName = new Map(rows.map((row) => [row.name, row]));
  return rows.map((row) => fill(row, byName));
}

function fill(row: RawRow, byName: ReadonlyMap<string, RawRow>): CatalogueRow {
  const family = families[row.family] ?? {};
  const base = baseOf(row, byName);
  const license = row.license ?? (row.like === undefined ? undefined : base.license) ?? family.license;
  const source = row.source ?? family.source ?? "";
  const filled: CatalogueRow = {
    name: row.name,
    aliases: row.aliases ?? [],
    family: row.family,
    release: row.release ?? "",
    shape: base.shape as ShapeFacts,
    params: base.params,
    uses: row.uses ?? family.uses ?? [],
    source: sources[source] ?? (source === "" ? `config.json of huggingface.co/${row.hf}` : source),
  };
  if (license !== undefined) filled.license = license;
  if (row.hf !== undefined) filled.hf = row.hf;
  if (row.gguf !== undefined) filled.gguf = row.gguf;
  if (row.projector !== undefined) filled.projector = row.projector;
  return filled;
}

interface Base {
  shape: Partial<ShapeFacts>;
  params: number;
  license: string | undefined;
}

/** Shape and size of a row: its own over those of the row it is like, or over its family's. */
function baseOf(row: RawRow, byName: ReadonlyMap<string, RawRow>): Base {
  const family = families[row.family] ?? {};
  const like = row.like === undefined ? undefined : byName.get(row.like);
  if (row.like !== undefined && like === undefined)
    throw new Error(`${row.name} is like ${row.like}, which is not listed.`);
  const below = like === undefined ? undefined : baseOf(like, byName);
  return {
    shape: { ...(below?.shape ?? family.shape), ...row.shape },
    params: row.params ?? below?.params ?? 0,
    license: row.license ?? family.license ?? below?.license,
  };
}
