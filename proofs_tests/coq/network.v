(* Definitions only, no theorem: the counterpart of mlp.py, saliency.py and pruning.py in
   reference/. README.md in this folder explains how to read them.

   R is any ordered field: the fractions, or the real numbers. Arithmetic is exact.
   The first lines set the notation of MathComp, in the other files, too. *)

From mathcomp Require Export all_ssreflect ssralg ssrnum.
#[export] Set Implicit Arguments.
#[export] Unset Strict Implicit.
#[export] Unset Printing Implicit Defensive.
Export Order.Theory GRing.Theory Num.Theory.
Open Scope ring_scope.

Section Definitions.
Variable R : realFieldType.

(* reference/mlp.py *)

(* Layers of weights are numbered 0, 1, ..., last, so L = last + 1.
   Layers of neurons are numbered 0 (inputs), 1, ..., last + 1 (outputs).
   W l i j leads from neuron j of layer l to neuron i of layer l + 1. *)
Record mlp := Mlp {
  width : nat -> nat;  (* the number of neurons in layer l *)
  last : nat;
  W : nat -> nat -> nat -> R;
  phi : R -> R;  (* the unit of every hidden neuron *)
  phi' : R -> R  (* its derivative *)
}.

(* Layer l has a weight from j to i. *)
Definition is_weight (net : mlp) (l i j : nat) : bool :=
  [&& l <= last net, i < width net l.+1 & j < width net l]%N.

Definition homogeneous (net : mlp) := forall z, phi net z = phi' net z * z.

(* The inputs of layer l: x, or phi(z) of the layer below. *)
Fixpoint inputs (net : mlp) (x : nat -> R) (l : nat) : nat -> R :=
  match l with
  | 0 => x
  | k.+1 => fun i => phi net (\sum_(j < width net k) W net k i j * inputs net x k j)
  end.

(* z of layer l; the output layer is linear. *)
Definition preactivations (net : mlp) (x : nat -> R) (l i : nat) : R :=
  \sum_(j < width net l) W net l i j * inputs net x l j.

Definition output (net : mlp) (x : nat -> R) : nat -> R := preactivations net x (last net).

(* dR/dz of layer l, from the top down: `above` layers of weights are above it. *)
Fixpoint backward (net : mlp) (x dR_dy : nat -> R) (above l i : nat) : R :=
  match above with
  | 0 => dR_dy i
  | k.+1 => (\sum_(h < width net l.+2) backward net x dR_dy k l.+1 h * W net l.+1 h i)
            * phi' net (preactivations net x l i)
  end.

Definition dR_dz (net : mlp) (x dR_dy : nat -> R) (l : nat) : nat -> R :=
  backward net x dR_dy (last net - l) l.

Definition dR_dW (net : mlp) (x dR_dy : nat -> R) (l i j : nat) : R :=
  dR_dz net x dR_dy l i * inputs net x l j.

(* The gradient in the inputs of layer l: in x, or in phi(z) of the layer below. *)
Definition dR_dinputs (net : mlp) (x dR_dy : nat -> R) (l j : nat) : R :=
  \sum_(i < width net l.+1) dR_dz net x dR_dy l i * W net l i j.

(* reference/saliency.py *)

(* Eq. 1 *)
Definition synaptic_saliency (net : mlp) (x dR_dy : nat -> R) (l i j : nat) : R :=
  dR_dW net x dR_dy l i j * W net l i j.

(* The strength of all paths from the inputs to neuron j of layer l. *)
Fixpoint flow_in (net : mlp) (l : nat) : nat -> R :=
  match l with
  | 0 => fun _ => 1
  | k.+1 => fun i => \sum_(j < width net k) `|W net k i j| * flow_in net k j
  end.

(* The same from neuron i, which layer l leads into, to the outputs. *)
Fixpoint flow_out_above (net : mlp) (above l i : nat) : R :=
  match above with
  | 0 => 1
  | k.+1 => \sum_(h < width net l.+2) flow_out_above net k l.+1 h * `|W net l.+1 h i|
  end.

Definition flow_out (net : mlp) (l : nat) : nat -> R := flow_out_above net (last net - l) l.

(* Eq. 5 *)
Definition synflow_objective (net : mlp) : R :=
  \sum_(i < width net (last net).+1) flow_in net (last net).+1 i.

(* Eq. 6 *)
Definition synflow_scores (net : mlp) (l i j : nat) : R :=
  flow_out net l i * `|W net l i j| * flow_in net l j.

(* The network of which R in Eq. 5 is the sum of the outputs, for an input of ones. *)
Definition absolute (net : mlp) : mlp :=
  Mlp (width net) (last net) (fun l i j => `|W net l i j|) id (fun _ => 1).

Definition ones (i : nat) : R := 1.

(* The network with other weights. *)
Definition with_weights (net : mlp) (W' : nat -> nat -> nat -> R) : mlp :=
  Mlp (width net) (last net) W' (phi net) (phi' net).

(* reference/pruning.py *)

Definition masks := nat -> nat -> nat -> bool.  (* true = kept *)

Definition all_kept : masks := fun _ _ _ => true.

Definition masked (net : mlp) (mu : masks) : mlp :=
  with_weights net (fun l i j => (mu l i j)%:R * W net l i j).

Definition kept (net : mlp) (mu : masks) : nat :=
  \sum_(l < (last net).+1) \sum_(i < width net l.+1) \sum_(j < width net l) mu l i j.

(* The sum of scores over a set of weights. *)
Definition over (net : mlp) (C : masks) (scores : nat -> nat -> nat -> R) : R :=
  \sum_(l < (last net).+1) \sum_(i < width net l.+1) \sum_(j < width net l)
    (C l i j)%:R * scores l i j.

(* p names a neuron p m of each layer m <= l, and no weight between them is 0. *)
Definition open_path (net : mlp) (l : nat) (p : nat -> nat) : Prop :=
  (forall m, (m <= l)%N -> (p m < width net m)%N) /\
  (forall m, (m < l)%N -> W net m (p m.+1) (p m) != 0).

(* Some path of non-zero weights joins an input to an output (Sec. 3). *)
Definition path_open (net : mlp) : Prop := exists p, open_path net (last net).+1 p.

(* Global masking: mu' keeps the `keep` highest scores among the weights that mu keeps, with
   any rule for ties. *)
Definition keep_top (net : mlp) (scores : nat -> nat -> nat -> R) (mu : masks) (keep : nat)
    (mu' : masks) : Prop :=
  (forall l i j, mu' l i j -> mu l i j) /\
  kept net mu' = keep /\
  (forall l i j l' i' j', is_weight net l i j -> is_weight net l' i' j' ->
     mu l i j -> ~~ mu' l i j -> mu' l' i' j' -> scores l i j <= scores l' i' j').

(* Remove one weight at a time and score anew each time (Theorem 3): the masks after t steps. *)
Definition synflow_one_by_one (net : mlp) (run : nat -> masks) : Prop :=
  run 0%N = all_kept /\
  (forall t, (t < kept net all_kept)%N ->
     keep_top net (synflow_scores (masked net (run t))) (run t)
       (kept net all_kept - t.+1) (run t.+1)).

(* rho is N over the fewest weights left while a path is open. *)
Definition critical_compression (net : mlp) (run : nat -> masks) (rho : R) : Prop :=
  exists t, (forall s, (s <= t)%N -> path_open (masked net (run s))) /\
    ~ path_open (masked net (run t.+1)) /\
    rho = (kept net all_kept)%:R / (kept net (run t))%:R.

(* reference/theorems.py *)

(* C(S), the weights from outside a set of neurons S into S (Eq. 7). *)
Definition cut (S : nat -> nat -> bool) : masks := fun l i j => S l.+1 i && ~~ S l j.

(* No non-zero weight leads out of S. *)
Definition closed_downstream (net : mlp) (S : nat -> nat -> bool) : Prop :=
  forall l i j, is_weight net l i j -> W net l i j != 0 -> S l j -> S l.+1 i.

(* How often the part of a path up to layer l crosses C. *)
Definition crossings (C : masks) (l : nat) (p : nat -> nat) : nat :=
  \sum_(m < l) C m (p m.+1) (p m).

Definition exactly_once (net : mlp) (C : masks) : Prop :=
  forall p, open_path net (last net).+1 p -> crossings C (last net).+1 p = 1%N.

(* Footnote 3 asks for less: C separates the inputs from the outputs, and each of its elements
   is needed, for some path crosses C there only. *)
Definition footnote_3 (net : mlp) (C : masks) : Prop :=
  (forall p, open_path net (last net).+1 p -> (0 < crossings C (last net).+1 p)%N) /\
  (forall l i j, is_weight net l i j -> C l i j ->
     exists2 p, open_path net (last net).+1 p
              & crossings C (last net).+1 p = 1%N /\ p l = j /\ p l.+1 = i).

(* The Axiom, Maximal Critical Compression (Sec. 3): a path is open if any masks of that size
   leave one. *)
Definition axiom (net : mlp) (mu : masks) : Prop :=
  forall mu', kept net mu' = kept net mu -> path_open (masked net mu') ->
    path_open (masked net mu).

(* In mu and no longer in mu'. *)
Definition removed (mu mu' : masks) : masks := fun l i j => mu l i j && ~~ mu' l i j.

(* The total score of the weights that a step removes, and over a cut before the step (R). *)
Definition prune_size (net : mlp) (mu mu' : masks) : R :=
  over net (removed mu mu') (synflow_scores (masked net mu)).

Definition cut_size (net : mlp) (mu : masks) : R := synflow_objective (masked net mu).

(* reference/corollaries.py *)

(* Over all paths to an output, the sum of |x| times each |W|. *)
Definition path_strengths (net : mlp) (x : nat -> R) : nat -> R :=
  output (absolute net) (fun j => `|x j|).

(* reference/architecture.py *)

(* There are finitely many independent draws e and outcomes v. Draw e has the outcome v with
   probability pr e v. Weight W l i j is the value of the outcome of draw l i j. *)
Variables (E V : finType) (pr : E -> V -> R) (value : V -> R) (draw : nat -> nat -> nat -> E).

(* The network, if draw e has the outcome f e. *)
Definition drawn (net : mlp) (f : {ffun E -> V}) : mlp :=
  with_weights net (fun l i j => value (f (draw l i j))).

(* E[R], the mean over all outcomes of all draws, *)
Definition expected_objective (net : mlp) : R :=
  \sum_(f : {ffun E -> V}) (\prod_e pr e (f e)) * synflow_objective (drawn net f).

(* and the network of E|w|. *)
Definition mean_magnitudes (net : mlp) : mlp :=
  with_weights net (fun l i j => \sum_v pr (draw l i j) v * `|value v|).

(* Weights of two layers never share a draw. *)
Definition independent_layers (net : mlp) : Prop :=
  forall l i j l' i' j', is_weight net l i j -> is_weight net l' i' j' ->
    draw l i j = draw l' i' j' -> l = l'.

End Definitions.
