(* Many steps: Theorem 3, the Axiom, and `certified` of reference/corollaries.py. *)

From mathcomp Require Import all_ssreflect ssralg ssrnum.
From SynFlow Require Import network synaptic_flow pruning.
Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.
Import Order.Theory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

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
  path_open net -> synflow_one_by_one net run -> (t <= kept net all_kept)%N ->
  axiom net (run t).
Proof.
by move=> open one le_t mu' same /max_compression; rewrite same => many; apply/theorem_3.
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

Lemma without_one net mu l i j : is_weight net l i j -> mu l i j ->
  kept net mu = (kept net (fun m h k => mu m h k && ((m, h, k) != (l, i, j)))).+1.
Proof.
case/and3P=> le_l lt_i lt_j kept_e; rewrite -ltnS in le_l.
have one : kept net (fun m h k => (m, h, k) == (l, i, j)) = 1%N.
  rewrite /kept (bigD1 (Ordinal le_l)) //= (bigD1 (Ordinal lt_i)) //= (bigD1 (Ordinal lt_j)) //=.
  rewrite eqxx !big1 // => [m ne|h ne|k ne]; rewrite ?big1 // => *; rewrite ?big1 // => *.
  - by apply/eqP; rewrite eqb0 !xpair_eqE (negPf (ne : m != l :> nat)).
  - by apply/eqP; rewrite eqb0 !xpair_eqE (negPf (ne : h != i :> nat)) andbF.
  by apply/eqP; rewrite eqb0 !xpair_eqE (negPf (ne : k != j :> nat)) andbF.
have parts m h k : mu m h k
    = (((m, h, k) == (l, i, j)) + (mu m h k && ((m, h, k) != (l, i, j))))%N :> nat.
  by case: eqP => [[-> -> ->]|_]; rewrite ?kept_e ?andbT ?andbF.
by rewrite -add1n -one; do 3!(rewrite -big_split; apply: eq_bigr => ? _ /=); apply: parts.
Qed.

Lemma lowest net S mu : (0 < kept net mu)%N -> {mu' | keep_top net S mu (kept net mu).-1 mu'}.
Proof.
move=> pos; pose weight := {l : 'I_(last net).+1 & ('I_(width net l.+1) * 'I_(width net l))%type}.
pose at_ (A : Type) (f : nat -> nat -> nat -> A) (e : weight) :=
  f (tag e) (tagged e).1 (tagged e).2.
case: (pickP (at_ _ mu)) => [e0 kept_e0 | none]; last first.
  move: pos; rewrite /kept big1 // => l _; rewrite big1 // => i _; rewrite big1 // => j _.
  by apply/eqP; rewrite eqb0; apply/negbT; exact: (none (existT _ l (i, j))).
case: (@Order.TotalTheory.arg_minP _ _ _ e0 (at_ _ mu) (at_ _ S) kept_e0).
case=> l [i j] kept_e least.
exists (fun m h k => mu m h k && ((m, h, k) != (l : nat, i : nat, j : nat))); split; [|split].
- by move=> m h k /andP[].
- by rewrite (@without_one net mu l i j) // /is_weight -ltnS !ltn_ord.
move=> m h k m' h' k' _ /and3P[le_m lt_h lt_k] ->; rewrite negbK => /eqP[-> -> ->] /andP[kept_m _].
exact: (least (existT _ (Ordinal (le_m : m' < (last net).+1)%N) (Ordinal lt_h, Ordinal lt_k))).
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
Theorem certified net mu mu' :
  path_open (masked net mu) -> ((last net).+1 < kept net mu)%N ->
  keep_top net (synflow_scores (masked net mu)) mu (kept net mu).-1 mu' ->
  prune_size net mu mu' < cut_size net mu.
Proof.
move=> open many top; case: (theorem_3_step open top) => //.
by rewrite -subn1 subKn ?mul1n // (leq_trans _ many).
Qed.

(* so it reaches N / L, here in single steps. *)
Theorem certified_reaches net :
  path_open net -> exists run, synflow_one_by_one net run /\
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
