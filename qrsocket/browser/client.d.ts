/** "connecting": a try is under way. "offline": it waits for the next one. "closed": it does not come back by itself. */
export type State = "connecting" | "ready" | "offline" | "closed";

/** Why a connection ended. */
export interface Why {
  /** The close code of the WebSocket; 0 if this side gave up. 41xx is the server's "do not come back". */
  code: number;
  /** The server's reason; with code 0 "offline", "timeout", "no answer", or what `auth` threw. */
  reason: string;
}

export type JobState =
  | "queued" | "waiting" | "started" | "retrying" | "requeued"
  | "succeeded" | "failed" | "timeout" | "cancelled" | "lost";

/** A job of the user, as it was last heard of. A change is a new object: one never changes. */
export interface Job<Result = any> {
  id: string;
  /** Name of the Celery task. */
  task: string;
  title?: string;
  state: JobState;
  /** Grows with each change. */
  seq: number;
  /** Counts from 1. */
  attempt: number;
  /** While waiting: how many jobs are before it, as far as is known. */
  place?: number;
  done?: number;
  total?: number | null;
  /** A whole number from 0 to 100; null when it is not known. */
  percent: number | null;
  /** The last words of `job.progress(..., message=…)`. */
  message?: string;
  /** It was asked to stop, and still runs. */
  cancelling?: true;
  /** What the task's author chose to show. */
  result?: Result;
  /** Why there is no `result`: over 64 KiB, not to be shown as JSON, or one of a long list (ask for its job alone). */
  result_omitted?: "too_large" | "failed" | "listed";
  /** Meant for the user. */
  error?: string;
  /** "expired", "revoked", … */
  reason?: string;
  /** How many pieces `job.stream()` has written. */
  chunks?: number;
  /** Unix time in seconds, as the other two. */
  queued_at: number;
  started_at?: number;
  ended_at?: number;
}

/** What each event calls its handlers with. */
export interface Events<Message = any> {
  /**
   * Text that is JSON comes parsed, other text as a string, binary as an ArrayBuffer. `offset` is missing if the
   * message is not kept. It counts as processed when the handlers have returned, not when their promises have settled.
   */
  message: (data: Message, about: { offset?: number }) => void;
  /** A job is new or has changed, also while the page was away. */
  job: (job: Job) => void;
  /**
   * `why` comes with "offline" and "closed". "ready" comes again when the user of the connection changes. The first
   * "connecting" was before `connect` returned.
   */
  state: (state: State, why?: Why) => void;
  /** Messages may have been missed. Load again what the page shows. */
  gap: () => void;
  /**
   * Something went wrong with what was sent: `request` is what `send` returned, or null if it is about none of them.
   * Also for each waiting message that is given up, because the socket was closed or the user has changed.
   */
  error: (about: { error: string; request: string | null }) => void;
}

export interface ReadOptions<Trimmed = string> {
  /** Begin after the piece with this number; they count from 1. Default: 0. */
  after?: number;
  /** Yielded once in place of pieces that the server no longer has. Default: "…". */
  trimmed?: Trimmed;
  /** Called when the job has begun again, after its worker died or for a retry: what was read before is void. */
  anew?: () => void;
  /** Aborting it ends the reading: the iterator throws the signal's reason. */
  signal?: AbortSignal;
}

export interface Jobs {
  /** Running and recent ones, newest first, as known now. Empty until the socket is ready. */
  list(): Job[];
  get(id: string): Job | undefined;
  /** Calls *handler* now if the job is known, then on each change. Returns what stops that. */
  watch(id: string, handler: (job: Job) => void): () => void;
  /**
   * Asks a job to stop.
   *
   * @returns The job, which may still run: `cancelling` is then true.
   * @throws The server's error; "no answer" after 10 s, in which case it may have been cancelled or not; "closed".
   */
  cancel(id: string): Promise<Job>;
  /**
   * Reads what `job.stream()` writes: each piece once, in order, over reconnects, until the job has ended and
   * everything is read.
   *
   * @throws The server's error, for a job that is not this user's; "closed"; "the user has changed".
   */
  read<Trimmed = string>(id: string, options?: ReadOptions<Trimmed>): AsyncGenerator<string | Trimmed, void, void>;
}

export interface Socket<Message = any> {
  readonly state: State;
  /** The user's id; null for a connection without a user, undefined before the first "ready". */
  readonly user: string | null | undefined;
  readonly jobs: Jobs;
  /**
   * Calls *handler* on each such event, until what is returned is called. One that throws is reported
   * (`reportError`), and holds up nothing.
   */
  on<Name extends keyof Events>(name: Name, handler: Events<Message>[Name]): () => void;
  /**
   * Sends an ArrayBuffer, a view of one, a Blob or a File as binary, anything else as JSON. When the socket is not ready
   * it waits, and so it does behind a Blob that is still read. Sent is not arrived: what was under way when a connection
   * broke is not sent again.
   *
   * @returns The id that an "error" about it carries; such as that a Blob cannot be read.
   * @throws If the socket is closed, or 100 messages wait already. A TypeError for what JSON has no word for, at any
   * depth: a BigInt, NaN, a Map, a function, bytes within an object. Only a property that is undefined is left out.
   */
  send(data: unknown): string;
  /** Tries again now: after "closed", or instead of waiting while "offline". Otherwise does nothing. */
  connect(): void;
  /** Closes for good, or until `connect()`. What waits is given up. */
  close(): void;
}

/** What a socket needs of `sessionStorage`. */
export interface PositionStorage {
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
}

export interface ConnectOptions {
  /**
   * Returns what `authenticate` gets. Called for each connection. If it throws or rejects, that is a lost connection:
   * it is called again, later and later.
   */
  auth?: () => unknown;
  /** Keeps the position over a reload. Default: `sessionStorage`; null: nothing is kept. */
  storage?: PositionStorage | null;
  /** Default: the global one. Node has one from version 22. */
  WebSocket?: new (url: string, protocol: string) => any;
  /** For tests: times in milliseconds, by the names in client.js. */
  timing?: Record<string, number>;
}

/**
 * Opens a socket that stays open.
 *
 * @param url Relative to the page, or absolute; http(s) or ws(s). The position is kept under it: no tokens in it.
 * @throws If the URL is none, or there is no WebSocket.
 */
export function connect<Message = any>(url: string | URL, options?: ConnectOptions): Socket<Message>;

/** Whether a job succeeded, failed, or was cancelled, timed out or lost. */
export function hasEnded(job: Job | null | undefined): boolean;
