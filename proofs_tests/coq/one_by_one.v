(* Many steps: Theorem 3, the Axiom, and `certified` of reference/corollaries.py. *)

From SynFlow Require Import network synaptic_flow pruning.

Section OneByOne.
Variable R : realFieldType.
Implicit Types (net : mlp R) (mu : masks) (S : nat -> nat -> nat -> R).

Lemma masked_all_kept net : path_open net -> path_open (masked net all_kept).
Proof. by case=> p [wide nonzero]; exists p; split=> // m lt_m; rewrite /= mul1r nonzero. Qed.

(* Max compression is N / L: a path needs one weight in each layer (Sec. 3). *)
Theorem max_compression net mu : path_open (masked net mu) -> ((last net).+1 <= kept net mu)%N.
Proof.
case=> p [wide nonzero]; rewrite -[X in (X <= _)%N]card_ord -sum1_card; apply: leq_sum => l _.
have kept_l : mu l (p l.+1) (p l).
  by apply: contraNT (nonzero l (ltn_ord l)) => /negPf /= ->; rewrite mul0r.
rewrite (bigD1 (Ordinal (wide l.+1 (ltn_ord l)))) //.
rewrite (bigD1 (Ordinal (wide l (ltnW (ltn_ord l))))) //=.
by rewrite kept_l !addn_gt0.
Qed.

Lemma run_kept net run t : synflow_one_by_one net run -> (t <= kept net all_kept)%N ->
  kept net (run t) = (kept net all_kept - t)%N.
Proof.
case=> start step; case: t => [|t] le_t; first by rewrite start subn0.
by case: (step t le_t) => _ [].
Qed.

(* Theorem 3: if one weight is removed at a time, a path is open as long as L weights are left. *)
Theorem theorem_3 net run t :
  path_open net -> synflow_one_by_one net run -> (t <= kept net all_kept)%N ->
  path_open (masked net (run t)) <-> ((last net).+1 <= kept net (run t))%N.
Proof.
move=> open one le_t; split; first exact: max_compression.
have [start step] := one; elim: t le_t => [|t IH] le_t.
  by rewrite start => _; apply: masked_all_kept.
have le_t' := ltnW le_t; rewrite (run_kept one le_t) => many.
have count : kept net (run t) = (kept net all_kept - t.+1).+1 by rewrite run_kept // subnSK.
case: (theorem_3_step (IH le_t' _) (step t le_t)) => //; rewrite count ?subSnn ?mul1n ?ltnS //.
exact: ltnW.
Qed.

(* Theorem 3: such a run satisfies the Axiom after each step, *)
Theorem theorem_3_axiom net run t :
  synflow_one_by_one net run -> (t <= kept net all_kept)%N -> axiom net (run t).
Proof.
move=> one le_t mu' same open; apply/theorem_3 => //; last by rewrite -same max_compression.
by case: open => p [wide nonzero]; exists p; split=> // m /nonzero; rewrite /= mulf_eq0 => /norP[].
Qed.

(* and critical compression is max compression, N / L. *)
Theorem theorem_3_critical net run rho :
  path_open net -> synflow_one_by_one net run ->
  critical_compression net run rho <-> rho = (kept net all_kept)%:R / (last net).+1%:R.
Proof.
move=> open one; set N := kept net all_kept; set L := (last net).+1.
have le_LN : (L <= N)%N by apply: max_compression; apply: masked_all_kept.
split=> [[t [opened [closed ->]]] | ->].
  have lt_t : (t < N)%N.
    by rewrite ltnNge; apply/negP => /opened/max_compression; rewrite run_kept // subnn.
  suff -> : kept net (run t) = L by [].
  apply/eqP; rewrite eqn_leq (max_compression (opened t (leqnn t))) andbT leqNgt.
  apply/negP => many.
  by apply/closed/theorem_3 => //; rewrite run_kept // -ltnS subnSK // -(run_kept one (ltnW lt_t)).
exists (N - L)%N; split=> [s le_s|].
  have le_sN : (s <= N)%N := leq_trans le_s (leq_subr _ _).
  by apply/theorem_3 => //; rewrite run_kept // leq_subRL // addnC -leq_subRL.
split=> [/max_compression|]; last by rewrite run_kept ?leq_subr // subKn.
by rewrite run_kept ?ltn_subrL ?(leq_trans _ le_LN) // subnS subKn //= ltnn.
Qed.

(* The weights as one finite set. *)
Definition weight net := {l : 'I_(last net).+1 & ('I_(width net l.+1) * 'I_(width net l))%type}.

Definition at_weight (A : Type) net (f : nat -> nat -> nat -> A) (e : weight net) : A :=
  f (tag e) (tagged e).1 (tagged e).2.

Lemma at_weight_inj net : injective (@at_weight _ net (fun l i j => (l, i, j))).
Proof.
case=> l [i j] [l' [i' j']] []; rewrite /= => /val_inj el; case: _ / el i' j' => i' j'.
by move=> /val_inj-> /val_inj->.
Qed.

Lemma kept_card net mu : kept net mu = #|[pred e : weight net | at_weight mu e]|.
Proof.
rewrite -sum1_card [RHS]big_mkcond; transitivity (\sum_(e : weight net) at_weight mu e)%N.
  by rewrite /kept; under eq_bigr do rewrite pair_bigA; rewrite sig_big_dep.
by apply: eq_bigr => e _; rewrite inE; case: (at_weight mu e).
Qed.

Lemma lowest net S mu : (0 < kept net mu)%N -> {mu' | keep_top net S mu (kept net mu).-1 mu'}.
Proof.
rewrite kept_card.
case: (pickP [pred e : weight net | at_weight mu e]) => [e0 kept_e0 _|/eq_card0-> //].
case: (@Order.TotalTheory.arg_minP _ _ _ e0 _ (at_weight S) kept_e0) => e kept_e least.
exists (fun l i j => mu l i j && ((l, i, j) != at_weight (fun l i j => (l, i, j)) e)).
split; [|split].
- by move=> l i j /andP[].
- rewrite kept_card [in RHS](cardD1 e) (kept_e : e \in [pred d | at_weight mu d]) add1n.
  apply: eq_card => d; rewrite !inE andbC.
  by rewrite -(inj_eq (@at_weight_inj net)).
move=> l i j l' i' j' _ /and3P[le_l lt_i lt_j] ->; rewrite negbK => /eqP[-> -> ->] /andP[kept_l _].
exact: (least (existT _ (Ordinal (le_l : l' < (last net).+1)%N) (Ordinal lt_i, Ordinal lt_j))).
Qed.

(* A run of Theorem 3 exists. *)
Theorem theorem_3_run net : exists run, synflow_one_by_one net run.
Proof.
pose next mu := match Sumbool.sumbool_of_bool (0 < kept net mu)%N with
  left pos => sval (lowest (synflow_scores (masked net mu)) pos) | _ => mu end.
have top mu : (0 < kept net mu)%N ->
    keep_top net (synflow_scores (masked net mu)) mu (kept net mu).-1 (next mu).
  rewrite /next => enough.
  by case: Sumbool.sumbool_of_bool => [pos|]; [exact: svalP | rewrite enough].
pose run t := iter t next all_kept; exists run; split=> // t.
have count s : (s <= kept net all_kept)%N -> kept net (run s) = (kept net all_kept - s)%N.
  elim: s => [|s IH] le_s; first by rewrite subn0.
  have [|_ [-> _]] := top (run s); first by rewrite IH ?subn_gt0 // ltnW.
  by rewrite IH ?subnS // ltnW.
move=> lt_t; rewrite subnS -count ?(ltnW lt_t) //; apply: top.
by rewrite count ?subn_gt0 // ltnW.
Qed.

(* `certified` of reference/corollaries.py never stops early: while more than L weights are left,
   the prune size of the lowest is below R, *)
Theorem certified net mu mu' : path_open (masked net mu) -> ((last net).+1 < kept net mu)%N ->
  keep_top net (synflow_scores (masked net mu)) mu (kept net mu).-1 mu' ->
  prune_size net mu mu' < cut_size net mu.
Proof.
move=> open many top; case: (theorem_3_step open top) => //.
by rewrite -subn1 subKn ?mul1n // (leq_trans _ many).
Qed.

(* so it reaches N / L, here in single steps. *)
Theorem certified_reaches net : path_open net -> exists run, synflow_one_by_one net run /\
    (forall t, (t < kept net all_kept - (last net).+1)%N ->
       prune_size net (run t) (run t.+1) < cut_size net (run t)) /\
    kept net (run (kept net all_kept - (last net).+1)%N) = (last net).+1.
Proof.
move=> open; have [run one] := theorem_3_run net; exists run; split=> //.
have le_LN := max_compression (masked_all_kept open).
split=> [t lt_t|]; last by rewrite (run_kept one) ?leq_subr // subKn.
have lt_tN : (t < kept net all_kept)%N := leq_trans lt_t (leq_subr _ _).
have many : ((last net).+1 < kept net (run t))%N.
  by rewrite (run_kept one (ltnW lt_tN)) ltn_subRL addnC -ltn_subRL.
apply: (certified _ many); first by apply/theorem_3 => //; apply: ltnW.
by rewrite (run_kept one (ltnW lt_tN)) -subnS; have [_ step] := one; apply: step.
Qed.

End OneByOne.
