// Tools that answer by themselves. The suite wants their names, and reads what they say.

import { fromJsonSchema } from "@modelcontextprotocol/server";
import { image, pause, says, sound, text } from "./answers.mjs";

const rich = {
  $schema: "https://json-schema.org/draft/2020-12/schema",
  type: "object",
  $defs: {
    address: {
      $anchor: "addressDef",
      type: "object",
      properties: { street: { type: "string" }, city: { type: "string" } },
    },
  },
  properties: {
    name: { type: "string" },
    address: { $ref: "#/$defs/address" },
    contactMethod: { type: "string", enum: ["phone", "email"] },
    phone: { type: "string" },
    email: { type: "string" },
  },
  allOf: [{ anyOf: [{ required: ["phone"] }, { required: ["email"] }] }],
  if: { properties: { contactMethod: { const: "phone" } }, required: ["contactMethod"] },
  then: { required: ["phone"] },
  else: { required: ["email"] },
  additionalProperties: false,
};

const none = { type: "object", properties: {} };

/** Registers a tool whose input schema reaches the client as it stands here. */
export function tool(server, name, description, inputSchema, run) {
  return server.registerTool(name, { description, inputSchema: fromJsonSchema(inputSchema ?? none) }, run);
}

export function registerTools(server, changes) {
  tool(server, "test_simple_text", "Answers with one text", none, () =>
    says("This is a simple text response for testing."),
  );
  tool(server, "test_image_content", "Answers with an image", none, () => ({
    content: [{ type: "image", data: image, mimeType: "image/png" }],
  }));
  tool(server, "test_audio_content", "Answers with a sound", none, () => ({
    content: [{ type: "audio", data: sound, mimeType: "audio/wav" }],
  }));
  tool(server, "test_embedded_resource", "Answers with a resource", none, () => ({
    content: [embedded("test://embedded-resource", "text/plain", "This is an embedded resource content.")],
  }));
  tool(server, "test_multiple_content_types", "Answers with text, image and resource", none, () => ({
    content: [
      text("Multiple content types test:"),
      { type: "image", data: image, mimeType: "image/png" },
      embedded("test://mixed-content-resource", "application/json", JSON.stringify({ test: "data", value: 123 })),
    ],
  }));
  tool(server, "test_error_handling", "Fails, as a tool does", none, () => ({
    ...says("This tool intentionally returns an error for testing"),
    isError: true,
  }));
  tool(server, "json_schema_2020_12_tool", "Its schema uses the whole of JSON Schema 2020-12", rich, (given) =>
    says(`Called with ${JSON.stringify(given)}`),
  );
  const region = {
    type: "object",
    properties: { region: { type: "string", description: "Where to look", "x-mcp-header": "Region" } },
    required: ["region"],
  };
  tool(server, "test_x_mcp_header", "Its argument is mirrored in a header", region, (given) =>
    says(`Region: ${given.region}`),
  );
  registerSlowTools(server);
  registerTriggers(server, changes);
}

function registerSlowTools(server) {
  const inform = async (context) => {
    for (const [step, line] of ["started", "processing data", "completed"].entries()) {
      if (step > 0) await pause(50);
      await context.mcpReq.log("info", step === 1 ? "Tool processing data" : `Tool execution ${line}`);
    }
    return says("Tool with logging executed successfully");
  };
  tool(server, "test_tool_with_logging", "Sends three log messages", none, (_, context) => inform(context));
  tool(server, "test_logging_tool", "Sends log messages where the request asks for them", none, (_, context) =>
    inform(context),
  );
  tool(server, "test_tool_with_progress", "Reports progress in three steps", none, async (_, context) => {
    const progressToken = context.mcpReq._meta?.progressToken;
    for (const progress of [0, 50, 100]) {
      if (progress > 0) await pause(50);
      if (progressToken === undefined) continue;
      const params = { progressToken, progress, total: 100, message: `Completed step ${progress} of 100` };
      await context.mcpReq.notify({ method: "notifications/progress", params });
    }
    return says("Tool with progress executed successfully");
  });
  // The task scenarios ask for a minute. Without tasks that is refused, or each of them would wait for its deadline.
  const seconds = { type: "object", properties: { seconds: { type: "number", minimum: 0, maximum: 30 } } };
  tool(server, "slow_compute", "Takes as many seconds as it is told to, unless cancelled", seconds, (given, context) =>
    sleep(given.seconds ?? 0, context.mcpReq.signal),
  );
  tool(server, "test_reconnection", "Closes its stream before it answers", none, async (_, context) => {
    context.http?.closeSSE?.();
    await pause(100);
    return says("Answered after the stream was closed");
  });
}

/** Ends early when the call is cancelled; the line on standard output tells whoever started us that it was. */
async function sleep(seconds, signal) {
  const started = Date.now();
  while (Date.now() - started < seconds * 1000) {
    if (signal.aborted) {
      console.log(JSON.stringify({ cancelled: "slow_compute" }));
      throw new Error("cancelled");
    }
    await pause(10);
  }
  return says(`Slept for ${seconds} seconds`);
}

function registerTriggers(server, changes) {
  tool(server, "test_trigger_tool_change", "Changes the list of tools", none, () => {
    changes.toggle("tool");
    return says("The list of tools has changed");
  });
  tool(server, "test_trigger_prompt_change", "Changes the list of prompts", none, () => {
    changes.toggle("prompt");
    return says("The list of prompts has changed");
  });
}

const embedded = (uri, mimeType, content) => ({ type: "resource", resource: { uri, mimeType, text: content } });
