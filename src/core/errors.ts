/**
 * The one error table. Library errors are translated to `AppError` in the file that imports the library;
 * expected domain answers (a model that does not fit) are values, not exceptions.
 */

/** Every way an operation can fail. Adding a code without filling all columns of `ERROR_TABLE` does not compile. */
export type ErrorCode =
  | "invalid_request"
  | "payload_too_large"
  | "context_length_exceeded"
  | "invalid_api_key"
  | "permission_denied"
  | "not_found"
  | "model_not_found"
  | "model_does_not_fit"
  | "model_file_invalid"
  | "rate_limit_exceeded"
  | "quota_exceeded"
  | "engine_overloaded"
  | "engine_unavailable"
  | "engine_out_of_memory"
  | "engine_timeout"
  | "invalid_configuration"
  | "internal";

export type Locale = "en" | "zh";

interface ErrorRow {
  /** HTTP status of the reply. */
  status: 400 | 401 | 403 | 404 | 413 | 422 | 429 | 500 | 503 | 504;
  /** `type` in OpenAI's error body. */
  openAiType: string;
  /** Whether the same request may succeed later; "after" needs `retryAfterMs`. */
  retry: "no" | "yes" | "after";
  /** The sentence a chat user reads: what happened and what to do. */
  chat: Record<Locale, string>;
}

export const ERROR_TABLE: Record<ErrorCode, ErrorRow> = {
  invalid_request: {
    status: 400,
    openAiType: "invalid_request_error",
    retry: "no",
    chat: { en: "I could not read that request.", zh: "我没有看懂这个请求。" },
  },
  payload_too_large: {
    status: 413,
    openAiType: "invalid_request_error",
    retry: "no",
    chat: { en: "That message is too large. Please send a shorter one.", zh: "消息太大了，请缩短后再发。" },
  },
  context_length_exceeded: {
    status: 400,
    openAiType: "invalid_request_error",
    retry: "no",
    chat: {
      en: "That is longer than this model can read at once. Please shorten it or start a new conversation.",
      zh: "内容超出了模型一次能读的长度，请缩短，或开始新的对话。",
    },
  },
  invalid_api_key: {
    status: 401,
    openAiType: "authentication_error",
    retry: "no",
    chat: { en: "The API key was not accepted. Please tell the administrator.", zh: "API 密钥无效，请联系管理员。" },
  },
  permission_denied: {
    status: 403,
    openAiType: "permission_error",
    retry: "no",
    chat: { en: "You are not allowed to do that here.", zh: "你没有权限进行这个操作。" },
  },
  not_found: {
    status: 404,
    openAiType: "invalid_request_error",
    retry: "no",
    chat: { en: "There is nothing at that address.", zh: "这个地址不存在。" },
  },
  model_not_found: {
    status: 404,
    openAiType: "invalid_request_error",
    retry: "no",
    chat: { en: "That model is not here. Ask /models for the list.", zh: "没有这个模型，请用 /models 查看列表。" },
  },
  model_does_not_fit: {
    status: 422,
    openAiType: "invalid_request_error",
    retry: "no",
    chat: { en: "That model does not fit on this machine. Try /fits.", zh: "这台机器放不下这个模型，可以试试 /fits。" },
  },
  model_file_invalid: {
    status: 422,
    openAiType: "invalid_request_error",
    retry: "no",
    chat: { en: "The model file is damaged or not a GGUF file.", zh: "模型文件已损坏，或者不是 GGUF 文件。" },
  },
  rate_limit_exceeded: {
    status: 429,
    openAiType: "rate_limit_error",
    retry: "after",
    chat: { en: "Too many questions at once. Please wait a moment.", zh: "请求太频繁，请稍等一会儿。" },
  },
  quota_exceeded: {
    status: 429,
    openAiType: "insufficient_quota",
    retry: "after",
    chat: { en: "Your quota is used up for now.", zh: "你的额度暂时用完了。" },
  },
  engine_overloaded: {
    status: 503,
    openAiType: "server_error",
    retry: "after",
    chat: { en: "Everybody is asking at once. Please try again soon.", zh: "现在排队的人太多，请稍后再试。" },
  },
  engine_unavailable: {
    status: 503,
    openAiType: "server_error",
    retry: "yes",
    chat: { en: "The model is not available right now. Please try again.", zh: "模型暂时不可用，请再试一次。" },
  },
  engine_out_of_memory: {
    status: 503,
    openAiType: "server_error",
    retry: "no",
    chat: { en: "The model ran out of memory on its machine.", zh: "运行模型的机器内存不足。" },
  },
  engine_timeout: {
    status: 504,
    openAiType: "server_error",
    retry: "yes",
    chat: { en: "The model took too long. Please try again.", zh: "模型响应超时，请再试一次。" },
  },
  invalid_configuration: {
    status: 500,
    openAiType: "server_error",
    retry: "no",
    chat: { en: "The server's settings need the administrator's attention.", zh: "服务器设置有误，请联系管理员。" },
  },
  internal: {
    status: 500,
    openAiType: "server_error",
    retry: "no",
    chat: { en: "Something went wrong on our side.", zh: "服务内部出错了。" },
  },
};

export const ERROR_CODES = Object.keys(ERROR_TABLE) as ErrorCode[];

export interface AppErrorOptions {
  cause?: unknown;
  /** Request field at fault, as the client spelled it (OpenAI's `param`). */
  param?: string;
  /** How long to wait before trying again, milliseconds. */
  retryAfterMs?: number;
  /** Facts a program can act on, e.g. `{promptTokens, contextLength}`. Never secrets or prompt text. */
  details?: Record<string, unknown>;
}

/** The form of an `AppError` that crosses process and network borders. */
export interface ErrorFacts {
  code: ErrorCode;
  message: string;
  param?: string;
  retryAfterMs?: number;
  details?: Record<string, unknown>;
}

/**
 * An operating failure with a code. `message` is one English sentence that says what happened and what to do;
 * it is shown to clients, so it must hold neither secrets nor file contents.
 */
export class AppError extends Error {
  override readonly name = "AppError";
  readonly code: ErrorCode;
  readonly param: string | undefined;
  readonly retryAfterMs: number | undefined;
  readonly details: Record<string, unknown> | undefined;

  constructor(code: ErrorCode, message: string, options: AppErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.param = options.param;
    this.retryAfterMs = options.retryAfterMs;
    this.details = options.details;
  }

  get status(): ErrorRow["status"] {
    return ERROR_TABLE[this.code].status;
  }

  /** Drops cause and stack: what may leave the process. */
  toFacts(): ErrorFacts {
    const facts: ErrorFacts = { code: this.code, message: this.message };
    if (this.param !== undefined) facts.param = this.param;
    if (this.retryAfterMs !== undefined) facts.retryAfterMs = this.retryAfterMs;
    if (this.details !== undefined) facts.details = this.details;
    return facts;
  }

  static fromFacts(facts: ErrorFacts): AppError {
    return new AppError(facts.code, facts.message, facts);
  }
}

/** Any thrown value as an `AppError`; what is not one already is our bug, so its text stays out of the message. */
export function toAppError(thrown: unknown): AppError {
  if (thrown instanceof AppError) return thrown;
  return new AppError("internal", "The server hit an unexpected error; the log holds the details.", { cause: thrown });
}

/** OpenAI's error body, for the `/v1` routes OpenAI defines. */
export function renderOpenAiError(error: AppError, requestId?: string) {
  return {
    error: {
      message: withRequestId(error, requestId),
      type: ERROR_TABLE[error.code].openAiType,
      param: error.param ?? null,
      code: error.code,
      ...(error.details === undefined ? {} : { details: error.details }),
    },
  };
}

/** RFC 9457 problem details, for our own routes. */
export function renderProblem(error: AppError, requestId?: string) {
  return {
    type: `urn:snug:error:${error.code}`,
    title: error.code.replaceAll("_", " "),
    status: error.status,
    detail: error.message,
    ...(error.param === undefined ? {} : { param: error.param }),
    ...(error.details === undefined ? {} : { details: error.details }),
    ...(requestId === undefined ? {} : { instance: requestId }),
  };
}

/** One sentence for a chat user, in the user's language; never library text. */
export function renderChatError(error: AppError, locale: Locale): string {
  const sentence = ERROR_TABLE[error.code].chat[locale];
  if (error.retryAfterMs === undefined) return sentence;
  const seconds = Math.max(1, Math.ceil(error.retryAfterMs / 1000));
  return locale === "zh" ? `${sentence}（约 ${seconds} 秒后）` : `${sentence} (in about ${seconds} s)`;
}

function withRequestId(error: AppError, requestId: string | undefined): string {
  return error.code === "internal" && requestId !== undefined
    ? `${error.message} Request id: ${requestId}.`
    : error.message;
}
