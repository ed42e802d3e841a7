// Calls the service's TypeScript client: one line of JSON in, one line of JSON out.
"use strict";

const fs = require("node:fs");
const readline = require("node:readline");
const { SyncClient } = require("@sync.so/sdk");

// {"stream": path} is a file with a name, {"blob": path} one without.
async function file(given) {
    if (given === null || given === undefined) return undefined;
    return given.stream ? fs.createReadStream(given.stream) : new Blob([fs.readFileSync(given.blob)]);
}

const FILES = { "batch.create": ["input"], "generations.createWithFiles": ["video", "audio"] };

async function called({ url, key, verb, given, options, raw }) {
    if (verb === "fetch") {
        const headers = { "x-api-key": key, "content-type": "application/json" };
        const answer = await fetch(url + given.path, { method: given.method, headers, body: given.body });
        return { status: answer.status, body: await answer.json() };
    }
    const client = new SyncClient({ baseUrl: url, apiKey: key });
    if (verb === "methods") return methods(client);
    const [resource, method] = verb.split(".");
    let inputs = verb === "models.list" ? [] : [given];
    if (FILES[verb]) {
        inputs = [...(await Promise.all(FILES[verb].map((name) => file(given[name])))), given.request];
    }
    const answer = client[resource][method](...inputs, options ?? { maxRetries: 0 });
    if (!raw) return answer;
    const { data, rawResponse } = await answer.withRawResponse();
    return { data, status: rawResponse.status };
}

// The resources are getters of the client's class.
function methods(client) {
    const names = (value) => Object.getOwnPropertyNames(Object.getPrototypeOf(value));
    const isPublic = (name) => name !== "constructor" && !name.startsWith("_");
    return names(client).filter(isPublic).flatMap((resource) =>
        names(client[resource]).filter(isPublic).map((method) => `${resource}.${method}`));
}

async function main() {
    for await (const line of readline.createInterface({ input: process.stdin })) {
        let answer;
        try {
            answer = { value: await called(JSON.parse(line)) };
        } catch (error) {
            answer = { error: error.constructor.name, status: error.statusCode, body: error.body, text: String(error) };
        }
        process.stdout.write(JSON.stringify(answer) + "\n");
    }
}

main();
