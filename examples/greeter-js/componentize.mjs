// Makes the component: QuickJS, the plugin, and the contract's imports and exports.
//
// componentize-qjs 0.4.5 runs the plugin's module once while it builds, with every import replaced by a trap;
// it cannot replace an async one ("type mismatch with async"). So it sees `open` and `emit` as plain
// functions, and their types are made async afterwards. What that costs: the plugin stands still while it
// waits for one of these two. Exports, streams and futures are async as they should be.

import { readFile, writeFile } from "node:fs/promises";
import { parse, print } from "@bytecodealliance/jco";
import { componentize } from "componentize-qjs";

/** The async functions that the world imports, by interface. */
const ASYNC_IMPORTS = {
    "peerup:plugin/streams@0.1.1": ["open"],
    "peerup:plugin/output@0.1.1": ["emit"],
};

const [source, contract, wit, out] = process.argv.slice(2);

await hideAsyncImports();
const { component } = await componentize({
    witPath: wit,
    world: "greeter",
    jsPath: source,
    jsSource: await readFile(source, "utf8"),
    optSize: true,
});
await writeFile(out, await parse(markAsyncImports(await print(component))));

/** Copies the contract to where the builder reads it, with these imports as plain functions. */
async function hideAsyncImports() {
    let text = await readFile(contract, "utf8");
    for (const name of Object.values(ASYNC_IMPORTS).flat()) {
        const found = text.split(`    ${name}: async func(`);
        if (found.length !== 2) {
            throw new Error(`${contract} has ${found.length - 1} async functions called ${name}, not one`);
        }
        text = found.join(`    ${name}: func(`);
    }
    await writeFile(`${wit}/deps/peerup-plugin/peerup-plugin.wit`, text);
}

/** Makes these imports async in the types of a component in text form. */
function markAsyncImports(text) {
    const lines = text.split("\n");
    for (const [name, functions] of Object.entries(ASYNC_IMPORTS)) {
        const imports = lines.flatMap((line, at) => (line.includes(`(import "${name}" (instance `) ? [at] : []));
        if (imports.length === 0) {
            throw new Error(`the component does not import ${name}`);
        }
        for (const end of imports) {
            functions.forEach((called) => markAsync(lines, end, called));
        }
    }
    return lines.join("\n");
}

/** Makes one function async in the instance type that ends right before the line `end`. */
function markAsync(lines, end, called) {
    const exported = findBackwards(lines, end, new RegExp(`^\\s*\\(export .*"${called}" \\(func \\(type (\\d+)\\)\\)\\)$`));
    const type = findBackwards(lines, exported.at, new RegExp(`^\\s*\\(type \\(;${exported.match[1]};\\) \\(func `));
    lines[type.at] = lines[type.at].replace("(func ", "(func async ");
}

function findBackwards(lines, from, pattern) {
    for (let at = from - 1; at >= 0; at -= 1) {
        const match = pattern.exec(lines[at]);
        if (match) {
            return { at, match };
        }
    }
    throw new Error(`the component's text has no ${pattern} before line ${from}`);
}
