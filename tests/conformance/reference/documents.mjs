// Resources and prompts of the suite.

import { completable, ResourceTemplate } from "@modelcontextprotocol/server";
import { z } from "zod";
import { image, text } from "./answers.mjs";

export function registerResources(server) {
  const fixed = (name, uri, mimeType, description, content) =>
    server.registerResource(name, uri, { description, mimeType }, () => ({ contents: [{ uri, mimeType, ...content }] }));
  fixed("static-text", "test://static-text", "text/plain", "A text that never changes", {
    text: "This is the content of the static text resource.",
  });
  fixed("static-binary", "test://static-binary", "image/png", "An image that never changes", { blob: image });
  fixed("watched-resource", "test://watched-resource", "text/plain", "A text to subscribe to", {
    text: "Watched resource content",
  });
  const template = new ResourceTemplate("test://template/{id}/data", { list: undefined });
  const described = { description: "Data of the id in its address", mimeType: "application/json" };
  server.registerResource("template", template, described, (uri, { id }) => {
    const data = { id, templateTest: true, data: `Data for ID: ${id}` };
    return { contents: [{ uri: uri.href, mimeType: "application/json", text: JSON.stringify(data) }] };
  });
}

export function registerPrompts(server) {
  const says = (...contents) => ({ messages: contents.map((content) => ({ role: "user", content })) });
  server.registerPrompt("test_simple_prompt", { description: "One message" }, () =>
    says(text("This is a simple prompt for testing.")),
  );
  const cities = (value) => ["paris", "park", "party"].filter((word) => word.startsWith(value));
  const two = z.object({
    arg1: completable(z.string().describe("First test argument"), cities),
    arg2: z.string().describe("Second test argument"),
  });
  server.registerPrompt(
    "test_prompt_with_arguments",
    { description: "A message with its arguments", argsSchema: two },
    ({ arg1, arg2 }) => says(text(`Prompt with arguments: arg1='${arg1}', arg2='${arg2}'`)),
  );
  server.registerPrompt(
    "test_prompt_with_embedded_resource",
    {
      description: "A message with a resource",
      argsSchema: z.object({ resourceUri: z.string().describe("Address of the resource") }),
    },
    ({ resourceUri: uri }) => {
      const resource = { uri, mimeType: "text/plain", text: "Embedded resource content for testing." };
      return says({ type: "resource", resource }, text("Please process the embedded resource above."));
    },
  );
  server.registerPrompt("test_prompt_with_image", { description: "A message with an image" }, () =>
    says({ type: "image", data: image, mimeType: "image/png" }, text("Please analyze the image above.")),
  );
}
