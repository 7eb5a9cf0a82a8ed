/** "connecting": a try is under way. "offline": it waits for the next one. "closed": it does not come back by itself. */
export type State = "connecting" | "ready" | "offline" | "closed";

/** Why a connection ended. */
export interface Why {
  /** The close code of the WebSocket; 0 if this side gave up. docs/protocol.md says what the client does at which. */
  code: number;
  /** The server's reason; with code 0 "offline", "no answer", or what `auth` threw. */
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

export interface About {
  /** Missing if the message is not kept. */
  offset?: number;
  /** The name of its topic; "*" if it was sent to everyone, missing if it is the user's own. */
  topic?: string;
}

/** What each event of a socket calls its handlers with. */
export interface Events<Message = any> {
  /**
   * The user's own messages and those for everyone. JSON comes parsed, a text that was sent as a text is a string, binary
   * an ArrayBuffer. A message counts as processed when the handlers have returned, not when their promises have settled.
   * Messages wait for the first handler: 256 of them or 1 MiB, then they are dropped, which is a gap.
   */
  message: (data: Message, about: About) => void;
  /** A job is new or has changed, also while the page was away. */
  job: (job: Job) => void;
  /**
   * `why` comes with "offline" and "closed". "ready" comes again when the user of the connection changes. The first
   * "connecting" was before `connect` returned.
   */
  state: (state: State, why?: Why) => void;
  /** Messages may have been missed. Load again what the page shows. Waits for the first handler. */
  gap: () => void;
  /** The server has joined this connection to a topic. */
  joined: (topic: Topic) => void;
  /**
   * Something went wrong with what was sent: `request` is what `send` returned, or null if it is about none of them.
   * Also for each waiting message that is given up, because the socket was closed or the user has changed.
   */
  error: (about: { error: string; request: string | null }) => void;
}

/**
 * "joining": asked for, also while the connection is away. "refused": the server said no, `error` says why. "left": by
 * `leave()`, or removed by the server.
 */
export type TopicState = "joining" | "joined" | "refused" | "left";

/** What each event of a topic calls its handlers with. */
export interface TopicEvents<Message = any> {
  /** As a socket's. Each topic has its own position, and messages of its own that wait for the first handler. */
  message: (data: Message, about: About) => void;
  /** The ids of all members, sorted: when it was joined, and after each change. */
  members: (ids: string[]) => void;
  /** Messages of this topic may have been missed. Waits for the first handler. */
  gap: () => void;
  /** `why` is "asked" or "removed" with "left", and the error with "refused". */
  state: (state: TopicState, why?: string) => void;
}

/** A topic, joined until `leave()`, over reconnects. Once it was refused or left it stays so: ask for it anew. */
export interface Topic<Message = any> {
  readonly name: string;
  readonly state: TopicState;
  /** Sorted ids of its members; a new array after each change. Empty where the server does not keep them. */
  readonly members: string[];
  /** Why it was refused. */
  readonly error?: string;
  on<Name extends keyof TopicEvents>(name: Name, handler: TopicEvents<Message>[Name]): () => void;
  /** Nothing of it is heard from now on. */
  leave(): void;
}

export interface RequestOptions {
  /** In milliseconds, from the call: it includes waiting for a connection. Default: 10 000. */
  timeout?: number;
  /** Aborting it rejects with the signal's reason; what has been sent was sent. */
  signal?: AbortSignal;
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
   * Sends an ArrayBuffer, a view of one, a Blob or a File as binary, anything else as JSON. The message waits until the
   * socket is ready, and behind a Blob that is still being read. A sent message may not arrive: messages under way when
   * a connection breaks are not sent again.
   *
   * @returns The id that an "error" about the message carries, for example if a Blob cannot be read.
   * @throws If the socket is closed, or 100 messages wait already. A TypeError for a value that JSON cannot express, at
   * any depth: a BigInt, NaN, a Map, a function, bytes within an object. Only an undefined property is left out.
   */
  send(data: unknown, options?: { volatile?: false }): string;
  /**
   * Sends now or never, ahead of what waits.
   *
   * @returns false if the socket is not ready. It may be lost all the same.
   * @throws A TypeError as above, and for a Blob.
   */
  send(data: unknown, options: { volatile: boolean }): string | false;
  /**
   * Sends as `send` does, and waits for what the handler returns or replies.
   *
   * @returns JSON parsed, a text that was sent as a text as a string, binary as an ArrayBuffer.
   * @throws The handler's error; "no answer" in time; the signal's reason; "connection lost" or "closed" when the connection
   * that it was sent on has ended, in which case it may have been done; "the user has changed"; and what `send` throws.
   */
  request<Answer = any>(data: unknown, options?: RequestOptions): Promise<Answer>;
  /**
   * Joins a topic, now or as soon as the socket is ready, and again after each reconnect with its position.
   *
   * @returns The same object for the same name, until it is left or refused.
   * @throws A TypeError if it is no name: a letter or digit, then up to 199 visible ASCII characters.
   */
  topic<Content = any>(name: string): Topic<Content>;
  /**
   * For a `fetch` to the same server, so that `socket.others` leaves out this connection there; empty while there is none.
   * Send it to no other origin.
   */
  readonly headers: Record<string, string>;
  /** `fetch` with these headers, if the URL is of the socket's own origin. */
  fetch(input: RequestInfo | URL, init?: RequestInit): Promise<Response>;
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
   * Returns what `authenticate` gets. Called for each connection, and before a token expires. If it throws or rejects for a
   * connection, that is a lost one: it is called again, later and later.
   */
  auth?: () => unknown;
  /** Keeps the positions over a reload. Default: `sessionStorage`; null: nothing is kept. */
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
