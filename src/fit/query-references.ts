/** Files and repositories named in a question: `hf:owner/repo[:file]`, a link, a path to a GGUF file. */

export interface FileReference {
  /** As the header reader takes it. */
  location: string;
  /** The part that names a model, for a look into the catalogue. */
  modelText: string;
  /** "Q4_K_M" in `hf:owner/repo:Q4_K_M`. */
  quantization?: string;
  /** True for `owner/repo` without a word that it is a file: the catalogue's model of that name will do. */
  bare?: boolean;
}

const REPO = "([a-z0-9][\\w.-]{0,95})/([a-z0-9][\\w.-]{0,95})";
const HF = new RegExp(
  `(?:^|(?<=[\\s,，(]))(?:hf:|hf\\.co/|https?://(?:hf\\.co|huggingface\\.co)/)${REPO}(@[\\w.-]{1,64})?(?::([\\w.-]{1,96}(?:/[\\w.-]{1,96})?))?(?:/(?:resolve|blob|tree)/[\\w.-]{1,64}(?:/([\\w./-]{1,200}))?)?`,
  "i",
);
const URL = /(?:^|(?<=\s))https?:\/\/\S{1,400}?\.gguf(?=$|[\s?#,])(?:\?\S{0,100})?/i;
const PATH = /(?:^|(?<=\s))[\w.\\/:~+-]{1,300}\.gguf(?=$|\s)/i;
/** `owner/repo` alone: the name must look like a model's, so that "t/s" and "and/or" do not. */
const BARE_REPO = new RegExp(`(?:^|(?<=\\s))${REPO}(?=$|\\s)`, "i");

/** Takes the first reference out of a question; `rest` is the question without it. */
export function cutReferences(text: string): { rest: string; reference?: FileReference } {
  // Most questions name no file; none does without one of these.
  if (text.length > 1000 || !/[/.:]/.test(text)) return { rest: text };
  const hf = HF.exec(text);
  if (hf !== null) return cut(text, hf, hfReference(hf[1]!, hf[2]!, hf[4] ?? hf[5], hf[3]));
  const file = URL.exec(text) ?? PATH.exec(text);
  if (file !== null) {
    const location = file[0].trim();
    return cut(text, file, {
      location,
      modelText: location
        .split(/[\\/]/)
        .at(-1)!
        .replace(/\.gguf.*$/i, ""),
    });
  }
  const repo = BARE_REPO.exec(text);
  if (repo !== null && /\d/.test(repo[2]!) && repo[2]!.length >= 4 && repo[1]!.length >= 3 && !/^\d/.test(repo[1]!)) {
    return cut(text, repo, { ...hfReference(repo[1]!, repo[2]!, undefined), bare: !/gguf/i.test(repo[2]!) });
  }
  return { rest: text };
}

function cut(
  text: string,
  match: RegExpExecArray,
  reference: FileReference,
): { rest: string; reference: FileReference } {
  return { rest: `${text.slice(0, match.index)} ${text.slice(match.index + match[0].length)}`, reference };
}

/** `file`: a file of the repository, or a quantization the reader looks for. */
function hfReference(owner: string, repository: string, file: string | undefined, revision = ""): FileReference {
  const location = `hf:${owner}/${repository}${revision}`;
  if (file === undefined) return { location, modelText: repository };
  const reference = { location: `${location}:${file}`, modelText: repository };
  return /\.gguf$/i.test(file) ? reference : { ...reference, quantization: file };
}
