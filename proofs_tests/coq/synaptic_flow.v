(* Synaptic Flow: Eq. 5 and Eq. 6, what a mask takes from R and from the function, and E[R]. *)

From SynFlow Require Import network conservation.

Section SynapticFlow.
Variable R : realFieldType.
Implicit Types (net : mlp R) (C mu : masks).

Lemma homogeneous_absolute net : homogeneous (absolute net).
Proof. by move=> z; rewrite /= mul1r. Qed.

Lemma flow_in_absolute net l i : inputs (absolute net) (@ones R) l i = flow_in net l i.
Proof. by elim: l i => //= l IH i; apply: eq_bigr => j _; rewrite IH. Qed.

Lemma flow_out_absolute net l i :
  dR_dz (absolute net) (@ones R) (@ones R) l i = flow_out net l i.
Proof.
rewrite /dR_dz /flow_out /=; move: (last net - l)%N => k; elim: k l i => //= k IH l i.
by rewrite mulr1; apply: eq_bigr => h _; rewrite IH.
Qed.

(* Eq. 5 is the sum of the outputs of the absolute network for an input of ones. *)
Theorem equation_5 net :
  synflow_objective net
    = \sum_(i < width net (last net).+1) output (absolute net) (@ones R) i.
Proof. by apply: eq_bigr => i _; apply: eq_bigr => j _; rewrite flow_in_absolute. Qed.

(* Eq. 6 is Eq. 1 for this R: dR/dy is 1 for each output. *)
Theorem equation_6 net l i j :
  synflow_scores net l i j = synaptic_saliency (absolute net) (@ones R) (@ones R) l i j.
Proof. by rewrite /synaptic_saliency /dR_dW flow_in_absolute flow_out_absolute mulrAC. Qed.

(* Theorem 2 for Synaptic Flow: the scores of such a set sum to R. *)
Theorem synflow_conserved net C :
  exactly_once net C -> over net C (synflow_scores net) = synflow_objective net.
Proof.
move=> once; rewrite equation_5.
transitivity (over (absolute net) C (synaptic_saliency (absolute net) (@ones R) (@ones R))).
  do 3!apply: eq_bigr => ? _; by rewrite equation_6.
rewrite theorem_2 => [||p [wide nonzero]]; first by apply: eq_bigr => i _; rewrite mul1r.
  exact: homogeneous_absolute.
by apply: once; split=> // m lt_m; rewrite -normr_eq0; exact: nonzero.
Qed.

Theorem synflow_conserved_layer net l : (l <= last net)%N ->
  \sum_(i < width net l.+1) \sum_(j < width net l) synflow_scores net l i j
    = synflow_objective net.
Proof. by move=> le_l; rewrite -over_layer // synflow_conserved //; apply: layer_once. Qed.

Lemma flow_in_ge0 net l i : 0 <= flow_in net l i.
Proof. by elim: l i => [|l IH] i /=; rewrite ?ler01 // sumr_ge0 // => j _; rewrite mulr_ge0. Qed.

Theorem synflow_scores_ge0 net l i j : 0 <= synflow_scores net l i j.
Proof.
rewrite /synflow_scores !mulr_ge0 ?flow_in_ge0 // /flow_out.
move: (last net - l)%N => k; elim: k l i => [|k IH] l i /=; rewrite ?ler01 // sumr_ge0 // => h _.
by rewrite mulr_ge0.
Qed.

Lemma positive_term n (F : nat -> R) : 0 < \sum_(j < n) F j -> exists2 j, (j < n)%N & 0 < F j.
Proof.
case: (boolP [exists j : 'I_n, 0 < F j]) => [/existsP[j pos] _|]; first by exists j.
rewrite negb_exists => /forallP none; rewrite ltNge -oppr_ge0 -sumrN sumr_ge0 // => j _.
by rewrite oppr_ge0 leNgt none.
Qed.

Lemma flow_has_path net l i : (i < width net l)%N -> 0 < flow_in net l i ->
  exists2 p, open_path net l p & p l = i.
Proof.
elim: l i => [|l IH] i lt_i /=.
  by exists (fun _ => i) => //; split=> // m; rewrite leqn0 => /eqP->.
case/(positive_term (F := fun j => `|W net l i j| * flow_in net l j)) => j lt_j /= pos.
have Wij : W net l i j != 0 by apply: contraTneq pos => ->; rewrite normr0 mul0r ltxx.
have [|p open pl] := IH j lt_j; first by move: pos; rewrite pmulr_rgt0 ?normr_gt0.
by exists (fun m => if (m <= l)%N then p m else i); [exact: longer_path pl _ _ | rewrite ltnn].
Qed.

Lemma path_has_flow net l p : open_path net l p -> 0 < flow_in net l (p l).
Proof.
case; elim: l => [|l IH] wide nonzero /=; first exact: ltr01.
rewrite (bigD1 (Ordinal (wide l (leqnSn l)))) //= ltr_paddr ?sumr_ge0 // => [j _|].
  by rewrite mulr_ge0 ?flow_in_ge0.
rewrite mulr_gt0 ?normr_gt0 ?nonzero // IH // => m le_m; first by rewrite wide // ltnW.
by rewrite nonzero // ltnW.
Qed.

(* R > 0 if and only if a path is open (Sec. 3). *)
Theorem path_open_iff net : 0 < synflow_objective net <-> path_open net.
Proof.
split=> [/(positive_term (F := flow_in net _))[i lt_i /(flow_has_path lt_i)[p open _]]|[p open]].
  by exists p.
rewrite /synflow_objective (bigD1 (Ordinal (open.1 _ (leqnn _)))) // ltr_paddr //.
  by rewrite sumr_ge0 // => j _; rewrite flow_in_ge0.
exact: path_has_flow open.
Qed.

(* R - R' is at most the score of the removed weights. A path with two removed weights is lost
   once and is part of two scores. *)
Theorem loss_of_flow net C W' :
  (forall l i j, W' l i j = (~~ C l i j)%:R * W net l i j) ->
  synflow_objective net - synflow_objective (with_weights net W')
    <= over net C (synflow_scores net).
Proof.
move=> removed; set net' := with_weights _ _.
have step l i : 0 <= crossed_inputs (absolute net) (@ones R) C l i
    /\ flow_in net l i - flow_in net' l i <= crossed_inputs (absolute net) (@ones R) C l i.
  elim: l i => [|l IH] i /=; first by rewrite subrr.
  rewrite mul1r -sumrB; split; [apply: sumr_ge0 | apply: ler_sum] => j _; have [pos le] := IH j.
    by rewrite mulr_ge0 ?addr_ge0 ?mulr_ge0 ?ler0n // flow_in_absolute flow_in_ge0.
  rewrite removed normrM normr_nat flow_in_absolute; case: (C l i j).
    by rewrite !mul0r subr0 mul1r ler_wpmul2l // ler_addr.
  by rewrite mul1r mul0r addr0 -mulrBr ler_wpmul2l.
have -> : over net C (synflow_scores net)
    = over (absolute net) C (synaptic_saliency (absolute net) (@ones R) (@ones R)).
  by do 3!apply: eq_bigr => ? _; rewrite equation_6.
rewrite /over -(over_below _ _ _ (leqnn (last (absolute net)))) dR_dz_last.
by rewrite -sumrB; apply: ler_sum => i _; case: (step (last net).+1 i).
Qed.

(* No output changes by more than it loses of P|x|, if the units have slope at most 1 and fix 0. *)
Theorem change_of_function net mu x i :
  (forall a b, `|phi net a - phi net b| <= `|a - b|) -> phi net 0 = 0 ->
  `|output net x i - output (masked net mu) x i|
    <= path_strengths net x i - path_strengths (masked net mu) x i.
Proof.
move=> steady zero; set net' := masked net mu.
pose bounded (f : mlp R -> (nat -> R) -> nat -> R) j := let x' := fun k => `|x k| in
  `|f net x j| <= f (absolute net) x' j /\
  `|f net x j - f net' x j| <= f (absolute net) x' j - f (absolute net') x' j.
have layer l h : (forall j, bounded (fun n y => inputs n y l) j) ->
    bounded (fun n y => preactivations n y l) h.
  move=> IH; rewrite /bounded /preactivations -!sumrB.
  split; apply: le_trans (ler_norm_sum _ _ _) _; apply: ler_sum => j _; have [size change] := IH j.
    by rewrite normrM ler_wpmul2l.
  rewrite /= [`|_ * W _ _ _ _|]normrM normr_nat.
  by case: (mu l h j); rewrite ?mul1r ?mul0r ?subr0 -?mulrBr normrM ler_wpmul2l.
have below l j : bounded (fun n y => inputs n y l) j.
  elim: l j => [|l IH] j; first by rewrite /bounded /= !subrr normr0.
  have [size change] := layer l j IH; split; last exact: le_trans (steady _ _) change.
  by apply: le_trans size; have := steady (preactivations net x l j) 0; rewrite zero !subr0.
exact: (layer (last net) i (below _)).2.
Qed.

(* E[R] = R at E|w|: if no two layers share a draw, the mean of R is R of the mean magnitudes. *)
Theorem expected_flow (E V : finType) (pr : E -> V -> R) value draw net :
  (forall e v, 0 <= pr e v) -> (forall e, \sum_v pr e v = 1) -> independent_layers draw net ->
  expected_objective pr value draw net = synflow_objective (mean_magnitudes pr value draw net).
Proof.
move=> ge0 sum1 independent; set drawn_flow := fun f => flow_in (drawn value draw net f).
suff weighted l i g : (l <= (last net).+1)%N -> (i < width net l)%N ->
    (forall m h k, (m < l)%N -> is_weight net m h k -> g (draw m h k) =1 pr (draw m h k)) ->
    \sum_(f : {ffun E -> V}) (\prod_e g e (f e)) * drawn_flow f l i
      = (\prod_e \sum_v g e v) * flow_in (mean_magnitudes pr value draw net) l i.
  transitivity (\sum_(i < width net (last net).+1) \sum_(f : {ffun E -> V})
      (\prod_e pr e (f e)) * drawn_flow f (last net).+1 i).
    by rewrite [RHS]exchange_big; apply: eq_bigr => f _; rewrite -big_distrr.
  by apply: eq_bigr => i _; rewrite weighted ?ltn_ord // big1 ?mul1r.
elim: l i g => [|l IH] i g le_l lt_i eq_g; rewrite /drawn_flow /=.
  by rewrite mulr1 bigA_distr_bigA; apply: eq_bigr => f _; rewrite mulr1.
under eq_bigr do rewrite big_distrr /=; rewrite exchange_big [RHS]big_distrr.
apply: eq_bigr => j _ /=; set e := draw l i j; set mean := \sum_v pr e v * _.
have weight : is_weight net l i j by rewrite /is_weight -ltnS le_l lt_i ltn_ord.
have eq_e : g e =1 pr e := eq_g _ _ _ (ltnSn l) weight.
pose g' d v := g d v * (if d == e then `|value v| else 1).
transitivity (\sum_(f : {ffun E -> V}) (\prod_d g' d (f d)) * drawn_flow f l j).
  apply: eq_bigr => f _; rewrite mulrA; congr (_ * _).
  by rewrite /g' big_split -big_mkcond big_pred1_eq.
rewrite IH ?(ltnW le_l) ?ltn_ord // => [|m h k lt_m weight' v]; last first.
  rewrite /g'; case: eqP => [same|_]; last by rewrite mulr1 eq_g // ltnS ltnW.
  by rewrite (independent _ _ _ _ _ _ weight' weight same) ltnn in lt_m.
rewrite mulrA ger0_norm; last by rewrite sumr_ge0 // => v _; rewrite mulr_ge0.
congr (_ * _); transitivity (\prod_d ((\sum_v g d v) * (if d == e then mean else 1))); last first.
  by rewrite big_split -big_mkcond big_pred1_eq.
apply: eq_bigr => d _; rewrite /g'; case: eqP => [->|_]; last first.
  by rewrite mulr1; apply: eq_bigr => v _; rewrite mulr1.
have -> : \sum_v g e v = 1 by rewrite -(sum1 e); apply: eq_bigr.
by rewrite mul1r; apply: eq_bigr => v _; rewrite eq_e.
Qed.

End SynapticFlow.
