/** The part of `fetch` that talking to an engine needs, so that Node can do it with less than a web stream. */

export interface HttpBody {
  getReader(): HttpBodyReader;
}

export interface HttpBodyReader {
  /**
   * Rejects when the connection breaks.
   *
   * @param eager may be offered what arrives while this read waits, in the turn it arrives in; where it says false, the
   * read gives exactly those bytes
   */
  read(eager?: (bytes: Uint8Array) => boolean): Promise<{ done: boolean; value?: Uint8Array | undefined }>;
  /** The rest is not wanted. */
  cancel(): Promise<void>;
}

export interface HttpReply {
  ok: boolean;
  status: number;
  headers: { get(name: string): string | null };
  body: HttpBody | null;
}

export interface HttpRequestOptions {
  method?: string;
  headers: Record<string, string>;
  body?: string;
  signal: AbortSignal;
  /** A redirect is a reply like any other; it is not followed. */
  redirect: "manual";
}

/** `fetch` is one; it rejects when nothing answers, the connection breaks before the head, or the signal aborts. */
export type HttpSend = (url: string, options: HttpRequestOptions) => Promise<HttpReply>;
