/** Compiled, never run: what a user writes, and mistakes that are to be found. */

import { useEffect } from "react";
import { connect, hasEnded, type ConnectOptions, type Job, type Socket, type Topic } from "qrsocket";
import { useJob, useJobs, useMembers, useMessages, useSocket, useStream, useTopic } from "qrsocket/react";

interface News {
  text: string;
}

const socket: Socket<News> = connect<News>("/socket", { auth: async () => ({ token: "t" }) });

const off: () => void = socket.on("message", ({ text }, { offset }) => console.log(text.length, offset?.toFixed()));
socket.on("state", (state, why) => state === "closed" && why?.code.toFixed());
socket.on("job", job => job.state === "succeeded" && hasEnded(job));
socket.on("error", ({ error, request }) => error.length + (request?.length ?? 0));
const request: string = socket.send(new Uint8Array(3));
socket.send(new File(["a"], "a.txt"));
off();

const jobs: Job[] = socket.jobs.list();
const job: Promise<Job> = socket.jobs.cancel(jobs[0].id);

export async function read(): Promise<string> {
  let all = request + (await job).id;
  for await (const text of socket.jobs.read("a", { after: 3, signal: AbortSignal.timeout(9) })) all += text.trim();
  for await (const text of socket.jobs.read("a", { trimmed: null })) all += text?.trim();
  // @ts-expect-error: it may be null
  for await (const text of socket.jobs.read("a", { trimmed: null })) all += text.trim();
  return all;
}

export function Progress({ id }: { id: string }) {
  const { socket, state } = useSocket<News>({ url: "/socket", enabled: Boolean(id), auth: () => id });
  const job = useJob<{ rows: number }>(id);
  useEffect(() => socket?.on("message", ({ text }) => console.log(text)), [socket]);
  if (job === null || hasEnded(job)) return <p>There is none, or it has ended.</p>;
  return <progress value={job?.percent ?? 0} title={`${state} ${job?.result?.rows}`} />;
}

const room: Topic<News> = socket.topic<News>("room:7");
room.on("message", ({ text }, { offset, topic }) => console.log(text, offset?.toFixed(), topic?.length));
room.on("members", ids => console.log(ids.join(), room.members.length));
room.on("state", (state, why) => state === "refused" && console.log(why, room.error?.length));
socket.on("joined", topic => topic.leave());
const answer: Promise<{ hits: string[] }> = socket.request<{ hits: string[] }>({ q: "a" }, { timeout: 100, signal: AbortSignal.timeout(9) });
const sent: string | false = socket.send("typing", { volatile: true });
export const response: Promise<Response> = socket.fetch("/orders", { headers: socket.headers });

export function Room({ name }: { name: string | null }) {
  const { topic, state, members, error } = useTopic<News>(name);
  const messages = useMessages<News>(({ text }) => text !== "", { topic: name, limit: 3 });
  const { jobs, isLoading } = useJobs({ enabled: state === "joined" });
  const { text, isDone } = useStream(jobs[0]?.id);
  const ids: string[] = useMembers("room:7");
  useEffect(() => topic?.on("gap", () => console.log(error?.length)), [topic]);
  return <p title={members.join()}>{[...messages.map(({ data, offset }) => data.text + offset), text, isLoading, isDone, ...ids]}</p>;
}

export const options: ConnectOptions[] = [{ storage: sessionStorage }, { storage: null }, { WebSocket }];

// @ts-expect-error: no such event
socket.on("massage", () => {});
// @ts-expect-error: only the client changes it
socket.state = "ready";
// @ts-expect-error: no such state
socket.on("state", state => state === "open");
// @ts-expect-error: the message has no such field
socket.on("message", data => data.title);
// @ts-expect-error: only the server says who they are
room.members = ["ada"];
// @ts-expect-error: a volatile message may not be sent at all
(await answer) && sent.length;
// @ts-expect-error: auth is a function
connect("/socket", { auth: { token: "t" } });
// @ts-expect-error: enabled is no function
useSocket({ enabled: () => true });
// @ts-expect-error: only a component can be not enabled
connect("/socket", { enabled: false });
// @ts-expect-error: there may be no such job
useJob("a").percent;
