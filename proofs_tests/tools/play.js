"use strict";
/* The answers of docs/play.html about one drawn network, as text. */

const bits = (masks) => flat(masks).map(Number).join("");
const all_written = (layers) => flat(layers).map(written);

/** The masks of a generator, and the message with which it ends. */
function until_refusal(generator) {
  const masks = [];
  try {
    for (const next of generator) masks.push(next);
    return [masks, ""];
  } catch (error) {
    return [masks, error.message];
  }
}

function method_answers(net, keep, steps) {
  const method = (name) => [METHODS[name](net, keep, steps), ""];
  const all = {
    "one-shot": method("one-shot"), magnitude: method("magnitude"), "algorithm-1": method("algorithm-1"),
    certified: until_refusal(certified(net, compression_to(net, keep))),
  };
  return Object.fromEntries(Object.entries(all).map(([name, [masks, refusal]]) => [name, {
    masks: masks.map(bits), refusal,
    steps: theorem_4(net, masks).map((step) =>
      [written(step.prune_size), written(step.cut_size), step.path_open]),
  }]));
}

/** Critical compression of masks that keep N - 1, ..., 0 weights by scores taken once. */
function critical(net, method) {
  const keeps = [...flat(net).keys()].reverse();
  return written(critical_compression(net, keeps.map((keep) => METHODS[method](net, keep)[0])));
}

function answers({ weights, keep, steps }) {
  const net = read_network(weights), scores = synflow_scores(net);
  return {
    weights: write_network(net), R: written(synflow_objective(net)), scores: all_written(scores),
    flow_in: flow_in(net).map((layer) => layer.map(written)),
    flow_out: flow_out(net).map((layer) => layer.map(written)),
    cuts: sets_of_neurons(net).map((S) => [bits(cut(net, S)), written(total_over(scores, cut(net, S)))]),
    methods: method_answers(net, keep, steps),
    critical: [critical(net, "one-shot"), critical(net, "magnitude")],
  };
}
