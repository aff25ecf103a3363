(* Theorem 3, Theorem 4 and the Axiom. *)

From mathcomp Require Import all_ssreflect ssralg ssrnum.
From SynFlow Require Import network conservation synaptic_flow.
Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.
Import Order.Theory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section Pruning.
Variable R : realFieldType.
Implicit Types (net : mlp R) (C D mu : masks) (S T : nat -> nat -> nat -> R).

(* Theorem 4: a step leaves a path open if prune size < cut size. *)
Theorem theorem_4 net mu mu' :
  (forall l i j, mu' l i j -> mu l i j) -> prune_size net mu mu' < cut_size net mu ->
  path_open (masked net mu').
Proof.
move=> sub lt; apply/path_open_iff.
have left l i j : (mu' l i j)%:R * W net l i j
    = (~~ removed mu mu' l i j)%:R * W (masked net mu) l i j.
  rewrite /removed /= mulrA -natrM mulnb; congr (_%:R * _).
  by case: (boolP (mu' l i j)) => [/sub->|] //=; case: (mu l i j).
have := loss_of_flow left; rewrite -[over _ _ _]/(prune_size net mu mu') ler_subl_addr => le.
by rewrite -(ltr_add2l (prune_size net mu mu')) addr0 (lt_le_trans lt).
Qed.

(* Sums over sets of weights. *)

Lemma over_le net C D S T :
  (forall l i j, is_weight net l i j -> (C l i j)%:R * S l i j <= (D l i j)%:R * T l i j) ->
  over net C S <= over net D T.
Proof.
move=> le; apply: ler_sum => l _; apply: ler_sum => i _; apply: ler_sum => j _.
by apply: le; rewrite /is_weight -ltnS !ltn_ord.
Qed.

Lemma over_scale net C c S : over net C (fun l i j => c * S l i j) = c * over net C S.
Proof.
do 3!(rewrite big_distrr; apply: eq_bigr => ? _ /=).
by rewrite mulrCA.
Qed.

Lemma over_removed net mu mu' S : (forall l i j, mu' l i j -> mu l i j) ->
  over net mu S = over net (removed mu mu') S + over net mu' S.
Proof.
move=> sub; do 3!(rewrite -big_split; apply: eq_bigr => ? _ /=).
rewrite -mulrDl -natrD; congr (_%:R * _); rewrite /removed.
by case: (boolP (mu' _ _ _)) => [/sub->|]; rewrite ?andbT ?addn0.
Qed.

Lemma kept_over net mu : (kept net mu)%:R = over net mu (fun _ _ _ => 1).
Proof. by do 3!(rewrite natr_sum; apply: eq_bigr => ? _); rewrite mulr1. Qed.

(* The removed weights have at most their share of the total score. *)
Lemma share net S mu keep mu' : keep_top net S mu keep mu' ->
  over net (removed mu mu') S * (kept net mu)%:R <= (kept net mu - keep)%:R * over net mu S.
Proof.
case=> sub [keep_eq low]; have all := over_removed net S sub.
have := over_removed net (fun _ _ _ => 1) sub; rewrite -!kept_over keep_eq => count.
have le_keep : (keep <= kept net mu)%N.
  by rewrite -(ler_nat R) count ler_addr ler0n.
rewrite natrB // count addrK all !mulrDr [X in X + _ <= _]mulrC ler_add2l -keep_eq !kept_over.
suff: over net (removed mu mu') (fun l i j => over net mu' (fun _ _ _ => 1) * S l i j)
    <= over net (removed mu mu') (fun _ _ _ => over net mu' S * 1).
  by rewrite !over_scale mulrC [X in _ -> _ <= X]mulrC.
apply: over_le => l i j weight; rewrite mulr1.
case: (boolP (removed mu mu' l i j)) => [/andP[kept_e lost_e]|]; last by rewrite !mul0r.
rewrite !mul1r; suff: over net mu' (fun _ _ _ => S l i j * 1) <= over net mu' S.
  by rewrite over_scale mulrC.
apply: over_le => l' i' j' weight'; rewrite mulr1.
by case: (boolP (mu' l' i' j')) => [?|]; rewrite ?mul0r // !mul1r; apply: low.
Qed.

Lemma over_all_layers net mu S total :
  (forall l, (l <= last net)%N -> \sum_(i < width net l.+1) \sum_(j < width net l)
     (mu l i j)%:R * S l i j = total) ->
  over net mu S = (last net).+1%:R * total.
Proof.
move=> each; rewrite /over (eq_bigr (fun _ => total)) => [|l _]; last by apply: each; rewrite -ltnS.
by rewrite sumr_const card_ord mulr_natl.
Qed.

Lemma small_share net S mu keep mu' total : 0 < total ->
  (forall l, (l <= last net)%N -> \sum_(i < width net l.+1) \sum_(j < width net l)
     (mu l i j)%:R * S l i j = total) ->
  keep_top net S mu keep mu' -> ((kept net mu - keep) * (last net).+1 < kept net mu)%N ->
  over net (removed mu mu') S < total.
Proof.
move=> pos each top few; have := share top; rewrite (over_all_layers each) mulrA -natrM => le.
have many : 0 < (kept net mu)%:R :> R by rewrite ltr0n (leq_trans _ few).
rewrite -(ltr_pmul2r many) (le_lt_trans le) // mulrC ltr_pmul2l //.
by rewrite ltr_nat.
Qed.

(* Theorem 3, for any scores that are positive and conserved by layer (Eq. 9, Eq. 10): the step
   that removes the lowest of more than L weights empties no layer. *)
Theorem theorem_3_layers net S mu mu' total l :
  (forall l i j, 0 <= S l i j) -> 0 < total ->
  (forall l, (l <= last net)%N -> \sum_(i < width net l.+1) \sum_(j < width net l)
     (mu l i j)%:R * S l i j = total) ->
  keep_top net S mu (kept net mu).-1 mu' -> ((last net).+1 < kept net mu)%N ->
  (l <= last net)%N ->
  exists i j, is_weight net l i j /\ mu' l i j.
Proof.
move=> ge0 pos each top many le_l; have [sub _] := top.
have lt : over net (removed mu mu') S < total.
  apply: small_share top _ => //; rewrite -subn1 subKn ?mul1n //.
  exact: leq_trans many.
case: (boolP [exists i : 'I_(width net l.+1), exists j : 'I_(width net l), mu' l i j]).
  case/existsP=> i /existsP[j kept_ij]; exists i, j; split=> //.
  by rewrite /is_weight le_l !ltn_ord.
rewrite negb_exists => /forallP none.
have all_lost i j : is_weight net l i j -> ~~ mu' l i j.
  case/and3P=> _ lt_i lt_j; move: (none (Ordinal lt_i)); rewrite negb_exists => /forallP.
  by move/(_ (Ordinal lt_j)).
move: lt; rewrite ltNge -(each l le_l) -(over_layer (fun l i j => (mu l i j)%:R * S l i j) le_l).
case/negP; apply: over_le => m i j weight; case: (eqVneq m l) => [ml|_].
  by rewrite ml in weight *; rewrite mul1r /removed all_lost // andbT.
by rewrite mul0r mulr_ge0 ?ler0n.
Qed.

(* A step that removes fewer than 1 in L of the weights left leaves a path open. *)
Theorem theorem_3_step net mu keep mu' :
  path_open (masked net mu) -> keep_top net (synflow_scores (masked net mu)) mu keep mu' ->
  ((kept net mu - keep) * (last net).+1 < kept net mu)%N ->
  prune_size net mu mu' < cut_size net mu /\ path_open (masked net mu').
Proof.
move=> open top few; have [sub _] := top.
suff lt : prune_size net mu mu' < cut_size net mu by split=> //; apply: theorem_4 lt.
apply: small_share top few; first exact/path_open_iff.
move=> l le_l; rewrite /cut_size.
rewrite -(synflow_conserved_layer (le_l : (l <= last (masked net mu))%N)).
apply: eq_bigr => i _; apply: eq_bigr => j _; rewrite /synflow_scores /=.
by case: (mu l i j); rewrite ?mul1r // !mul0r normr0 mulr0 mul0r.
Qed.

Lemma masked_all_kept net : path_open net -> path_open (masked net all_kept).
Proof. by case=> p [wide nonzero]; exists p; split=> // m lt_m; rewrite /= mul1r nonzero. Qed.

(* Max compression is N / L: a path needs one weight in each layer (Sec. 3). *)
Theorem max_compression net mu : path_open (masked net mu) -> ((last net).+1 <= kept net mu)%N.
Proof.
case=> p [wide nonzero]; rewrite -[X in (X <= _)%N]card_ord -sum1_card; apply: leq_sum => l _.
have kept_l : mu l (p l.+1) (p l).
  by apply: contraNT (nonzero l (ltn_ord l)) => /negPf /= ->; rewrite mul0r.
rewrite (bigD1 (Ordinal (wide l.+1 (ltn_ord l)))) // (bigD1 (Ordinal (wide l (ltnW (ltn_ord l))))) //=.
by rewrite kept_l !addn_gt0.
Qed.

Lemma run_kept net run t : synflow_one_by_one net run -> (t <= kept net all_kept)%N ->
  kept net (run t) = (kept net all_kept - t)%N.
Proof. by case=> start step; case: t => [|t] le_t; [rewrite start subn0 | case: (step t le_t) => _ []]. Qed.

(* Theorem 3: if one weight is removed at a time, a path is open as long as L weights are left. *)
Theorem theorem_3 net run t :
  path_open net -> synflow_one_by_one net run -> (t <= kept net all_kept)%N ->
  path_open (masked net (run t)) <-> ((last net).+1 <= kept net (run t))%N.
Proof.
move=> open one le_t; split; first exact: max_compression.
have [start step] := one; elim: t le_t => [|t IH] le_t; first by rewrite start => _; apply: masked_all_kept.
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
  apply/eqP; rewrite eqn_leq (max_compression (opened t (leqnn t))) andbT leqNgt; apply/negP => many.
  by apply/closed/theorem_3 => //; rewrite run_kept // -ltnS subnSK // -(run_kept one (ltnW lt_t)).
exists (N - L)%N; split=> [s le_s|].
  have le_sN : (s <= N)%N := leq_trans le_s (leq_subr _ _).
  by apply/theorem_3 => //; rewrite run_kept // leq_subRL // addnC -leq_subRL.
split=> [/max_compression|]; last by rewrite run_kept ?leq_subr // subKn.
by rewrite run_kept ?ltn_subrL ?(leq_trans _ le_LN) // subnS subKn //= ltnn.
Qed.

(* `certified` of reference/corollaries.py never stops early: while more than L weights are left,
   the prune size of the lowest is below R. So it reaches N / L. *)
Theorem certified net mu mu' :
  path_open (masked net mu) -> ((last net).+1 < kept net mu)%N ->
  keep_top net (synflow_scores (masked net mu)) mu (kept net mu).-1 mu' ->
  prune_size net mu mu' < cut_size net mu.
Proof.
move=> open many top; case: (theorem_3_step open top) => //.
by rewrite -subn1 subKn ?mul1n // (leq_trans _ many).
Qed.

End Pruning.
