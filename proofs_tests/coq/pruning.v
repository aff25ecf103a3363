(* One step: Theorem 4, and what Theorem 3 says of a step. *)

From SynFlow Require Import network conservation synaptic_flow.

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
Proof. do 3!(rewrite big_distrr; apply: eq_bigr => ? _ /=). by rewrite mulrCA. Qed.

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
Lemma small_share net S mu keep mu' total : 0 < total ->
  (forall l, (l <= last net)%N -> \sum_(i < width net l.+1) \sum_(j < width net l)
     (mu l i j)%:R * S l i j = total) ->
  keep_top net S mu keep mu' -> ((kept net mu - keep) * (last net).+1 < kept net mu)%N ->
  over net (removed mu mu') S < total.
Proof.
move=> pos each [sub [<- low]]; have all := over_removed net S sub.
have -> : kept net mu = (kept net (removed mu mu') + kept net mu')%N.
  by apply/eqP; rewrite -(eqr_nat R) natrD !kept_over -over_removed.
rewrite addnK => few; rewrite -(ltr_pmul2l (_ : 0 < (kept net (removed mu mu') + kept net mu')%:R)).
  2: by rewrite ltr0n (leq_trans _ few).
have layers : over net mu S = (last net).+1%:R * total.
  rewrite /over (eq_bigr (fun _ => total)) => [|l _]; last by apply: each; rewrite -ltnS.
  by rewrite sumr_const card_ord mulr_natl.
apply: le_lt_trans (_ : (kept net (removed mu mu'))%:R * over net mu S < _); last first.
  by rewrite layers mulrA -natrM ltr_pmul2r ?ltr_nat.
rewrite all natrD mulrDl mulrDr ler_add2l !kept_over.
suff: over net (removed mu mu') (fun l i j => over net mu' (fun _ _ _ => 1) * S l i j)
    <= over net (removed mu mu') (fun _ _ _ => over net mu' S * 1).
  by rewrite !over_scale [X in _ <= X -> _]mulrC.
apply: over_le => l i j weight; rewrite mulr1.
case: (boolP (removed mu mu' l i j)) => [/andP[kept_e lost_e]|]; last by rewrite !mul0r.
rewrite !mul1r; suff: over net mu' (fun _ _ _ => S l i j * 1) <= over net mu' S.
  by rewrite over_scale mulrC.
apply: over_le => l' i' j' weight'; rewrite mulr1.
by case: (boolP (mu' l' i' j')) => [?|]; rewrite ?mul0r // !mul1r; apply: low.
Qed.

(* Theorem 4, for any scores that are positive and conserved by layer (Eq. 9, Eq. 10): a step
   empties no layer if prune size < cut size. *)
Theorem theorem_4_layers net S mu mu' total l :
  (forall l i j, 0 <= S l i j) ->
  (forall l, (l <= last net)%N -> \sum_(i < width net l.+1) \sum_(j < width net l)
     (mu l i j)%:R * S l i j = total) ->
  over net (removed mu mu') S < total -> (l <= last net)%N ->
  exists i j, is_weight net l i j /\ mu' l i j.
Proof.
move=> ge0 each lt le_l.
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

(* Theorem 3 for such scores: the step that removes the lowest of more than L weights empties no
   layer. *)
Theorem theorem_3_layers net S mu mu' total l :
  (forall l i j, 0 <= S l i j) -> 0 < total ->
  (forall l, (l <= last net)%N -> \sum_(i < width net l.+1) \sum_(j < width net l)
     (mu l i j)%:R * S l i j = total) ->
  keep_top net S mu (kept net mu).-1 mu' -> ((last net).+1 < kept net mu)%N ->
  (l <= last net)%N ->
  exists i j, is_weight net l i j /\ mu' l i j.
Proof.
move=> ge0 pos each top many; apply: theorem_4_layers (each) _ => //.
by apply: small_share top _ => //; rewrite -subn1 subKn ?mul1n // (leq_trans _ many).
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

End Pruning.
