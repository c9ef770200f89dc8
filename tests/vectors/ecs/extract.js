// The fields of Elastic Common Schema 8.11 that belong to the field sets hivebox uses, as Elastic publishes them:
//   npm pack @elastic/ecs@8.11.1; tar xzf elastic-ecs-8.11.1.tgz; node extract.js ./package > fields-8.11.json
// Source: generated/ecs_flat.js of that package (https://github.com/elastic/ecs-typescript), made from
// https://github.com/elastic/ecs/tree/8.11/generated/ecs/ecs_flat.yml
const { EcsFlat } = require(process.argv[2] + "/generated/ecs_flat.js");
const SETS = ["@timestamp", "message", "ecs", "event", "host", "observer", "process", "user"];
const wanted = Object.entries(EcsFlat).filter(([name]) => SETS.includes(name.split(".")[0]) && name.split(".").length <= 2);
const lines = wanted.map(([name, field]) => {
  const allowed = (field.allowed_values || []).map((value) => value.name);
  const ofProcess = (field.allowed_values || []).find((value) => value.name === "process");
  const said = { type: field.type, required: !!field.required, array: field.normalize.includes("array") };
  if (allowed.length) said.allowed = allowed;
  if (ofProcess) said.event_types_of_process = ofProcess.expected_event_types;
  return `${JSON.stringify(name)}: ${JSON.stringify(said)}`;
});
console.log("{\n" + lines.join(",\n") + "\n}");
