(* Theorem 1 and Theorem 2 with their equations. *)

From SynFlow Require Import network.

Section Conservation.
Variable R : realFieldType.
Implicit Types (net : mlp R) (x dR_dy : nat -> R) (C : masks).

(* The chain rule at hidden neuron i of layer l + 1. *)
Lemma chain_rule net x dR_dy l i : (l < last net)%N ->
  dR_dz net x dR_dy l i = dR_dinputs net x dR_dy l.+1 i * phi' net (preactivations net x l i).
Proof. by move=> lt_l; rewrite /dR_dinputs /dR_dz -(subnSK lt_l). Qed.

Lemma dR_dz_last net x dR_dy : dR_dz net x dR_dy (last net) = dR_dy.
Proof. by rewrite /dR_dz subnn. Qed.

(* Eq. 2: what leaves neuron i of layer l + 1 adds up to dR/dphi(z) phi(z). *)
Theorem equation_2 net x dR_dy l i :
  \sum_(k < width net l.+2) synaptic_saliency net x dR_dy l.+1 k i
    = dR_dinputs net x dR_dy l.+1 i * phi net (preactivations net x l i).
Proof. by rewrite big_distrl; apply: eq_bigr => k _; rewrite /synaptic_saliency /dR_dW mulrAC. Qed.

(* Eq. 3: what enters it adds up to dR/dz z. *)
Theorem equation_3 net x dR_dy l i :
  \sum_(j < width net l) synaptic_saliency net x dR_dy l i j
    = dR_dz net x dR_dy l i * preactivations net x l i.
Proof.
rewrite big_distrr; apply: eq_bigr => j _.
by rewrite /synaptic_saliency /dR_dW -mulrA (mulrC (inputs _ _ _ _)).
Qed.

(* Theorem 1: S_in = S_out at every hidden neuron. *)
Theorem theorem_1 net x dR_dy l i : homogeneous net -> (l < last net)%N ->
  \sum_(j < width net l) synaptic_saliency net x dR_dy l i j
    = \sum_(k < width net l.+2) synaptic_saliency net x dR_dy l.+1 k i.
Proof. by move=> hom lt_l; rewrite equation_2 equation_3 chain_rule // hom mulrA. Qed.

(* For the proof of Theorem 2: the activations, each path counted as often as it crosses C. *)
Fixpoint crossed_inputs net x C l : nat -> R :=
  match l with
  | 0 => fun _ => 0
  | k.+1 => fun i => phi' net (preactivations net x k i) * \sum_(j < width net k)
      W net k i j * (crossed_inputs net x C k j + (C k i j)%:R * inputs net x k j)
  end.

Definition crossed net x C l i : R := \sum_(j < width net l)
  W net l i j * (crossed_inputs net x C l j + (C l i j)%:R * inputs net x l j).

Lemma over_below net x dR_dy C l : (l <= last net)%N ->
  \sum_(i < width net l.+1) dR_dz net x dR_dy l i * crossed net x C l i
    = \sum_(m < l.+1) \sum_(i < width net m.+1) \sum_(j < width net m)
        (C m i j)%:R * synaptic_saliency net x dR_dy m i j.
Proof.
have split m : \sum_(i < width net m.+1) dR_dz net x dR_dy m i * crossed net x C m i
    = \sum_(j < width net m) dR_dinputs net x dR_dy m j * crossed_inputs net x C m j
      + \sum_(i < width net m.+1) \sum_(j < width net m)
          (C m i j)%:R * synaptic_saliency net x dR_dy m i j.
  under [X in _ = X + _]eq_bigr do rewrite big_distrl /=.
  rewrite exchange_big -big_split; apply: eq_bigr => i _; rewrite big_distrr -big_split.
  apply: eq_bigr => j _ /=; rewrite mulrA mulrDr; congr (_ + _).
  by rewrite mulrCA /synaptic_saliency /dR_dW mulrAC.
elim: l => [|l IH] le_l; rewrite split big_ord_recr /=.
  by rewrite big1 ?big_ord0 // => j _; rewrite mulr0.
rewrite -IH ?(ltnW le_l) //; congr (_ + _); apply: eq_bigr => i _.
by rewrite chain_rule // -mulrA.
Qed.

Lemma longer_path net l i j p : open_path net l p -> p l = j -> (i < width net l.+1)%N ->
  W net l i j != 0 -> open_path net l.+1 (fun m => if (m <= l)%N then p m else i).
Proof.
case=> wide nonzero pl lt_i Wij; split=> m; rewrite ?ltnS leq_eqVlt => /predU1P[->|lt_m].
- by rewrite ltnn.
- by rewrite ltnS in lt_m; rewrite lt_m wide.
- by rewrite eqxx ltnn /= pl.
by rewrite lt_m orbT nonzero.
Qed.

(* If all paths to a neuron cross C equally often, it counts that often. *)
Lemma crossed_equally_often net x C l i c : homogeneous net -> (i < width net l.+1)%N ->
  (forall p, open_path net l.+1 p -> p l.+1 = i -> (crossings C l.+1 p)%:R = c) ->
  crossed net x C l i = c * preactivations net x l i.
Proof.
move=> hom; elim/ltn_ind: l i c => l IH i c lt_i often.
rewrite [RHS]big_distrr; apply: eq_bigr => j _ /=; case: (eqVneq (W net l i j) 0) => [->|Wij].
  by rewrite !mul0r mulr0.
have before p : open_path net l p -> p l = j -> (crossings C l p)%:R = c - (C l i j)%:R.
  move=> open pl; rewrite -(often _ (longer_path open pl lt_i Wij)) ?ltnn // /crossings.
  rewrite big_ord_recr natrD /= ltnn leqnn pl addrK; congr (_%:R); apply: eq_bigr => m _.
  by rewrite ltn_ord ltnW ?ltn_ord.
rewrite [RHS]mulrCA -[c](subrK (C l i j)%:R) mulrDl; congr (_ * (_ + _)).
case: l => [|l] in IH i j lt_i often Wij before *.
  rewrite -(before (fun _ => j)) /crossings ?big_ord0 ?mul0r //.
  by split=> // m; rewrite leqn0 => /eqP->.
rewrite -[LHS]/(phi' net _ * crossed net x C l j) (IH l (ltnSn l) j _ (ltn_ord j) before).
by rewrite [inputs _ _ _ _]/= hom mulrCA.
Qed.

(* Eq. 8: the saliency of the weights into the outputs, <dR/dy, y>. *)
Theorem equation_8 net x dR_dy :
  \sum_(i < width net (last net).+1) \sum_(j < width net (last net))
      synaptic_saliency net x dR_dy (last net) i j
    = \sum_(i < width net (last net).+1) dR_dy i * output net x i.
Proof. by apply: eq_bigr => i _; rewrite equation_3 dR_dz_last. Qed.

(* Theorem 2, at the outputs: for every set of weights that each path crosses exactly once. *)
Theorem theorem_2 net x dR_dy C : homogeneous net -> exactly_once net C ->
  over net C (synaptic_saliency net x dR_dy)
    = \sum_(i < width net (last net).+1) dR_dy i * output net x i.
Proof.
move=> hom once; rewrite /over -over_below // dR_dz_last; apply: eq_bigr => i _; congr (_ * _).
by rewrite (crossed_equally_often (c := 1) x hom (ltn_ord i)) ?mul1r // => p open _; rewrite once.
Qed.

Lemma layer_once net l : (l <= last net)%N -> exactly_once net (fun m _ _ => m == l).
Proof.
rewrite -ltnS => lt_l p _; rewrite /crossings (bigD1 (Ordinal lt_l)) //= eqxx.
by rewrite big1 // => m ne; apply/eqP; rewrite eqb0; exact: ne.
Qed.

Lemma over_layer net l S : (l <= last net)%N ->
  over net (fun m _ _ => m == l) S
    = \sum_(i < width net l.+1) \sum_(j < width net l) S l i j :> R.
Proof.
rewrite -ltnS => lt_l; rewrite /over (bigD1 (Ordinal lt_l)) //= [X in _ + X]big1 => [|m].
  by rewrite addr0; do 2!apply: eq_bigr => ? _; rewrite eqxx mul1r.
by rewrite -val_eqE => /negPf /= ->; do 2!(rewrite big1 // => ? _); rewrite mul0r.
Qed.

(* Theorem 2, for a layer. *)
Theorem theorem_2_layer net x dR_dy l : homogeneous net -> (l <= last net)%N ->
  \sum_(i < width net l.+1) \sum_(j < width net l) synaptic_saliency net x dR_dy l i j
    = \sum_(i < width net (last net).+1) dR_dy i * output net x i.
Proof. by move=> hom le_l; rewrite -over_layer // theorem_2 //; apply: layer_once. Qed.

(* Theorem 2, at the inputs. *)
Theorem theorem_2_inputs net x dR_dy : homogeneous net ->
  \sum_(j < width net 0) dR_dinputs net x dR_dy 0 j * x j
    = \sum_(i < width net (last net).+1) dR_dy i * output net x i.
Proof.
move=> hom; rewrite -(theorem_2_layer x dR_dy hom (leq0n _)) exchange_big.
apply: eq_bigr => j _; rewrite big_distrl; apply: eq_bigr => i _.
by rewrite /synaptic_saliency /dR_dW mulrAC.
Qed.

(* Theorem 2, for the cuts of Eq. 7. *)
Theorem theorem_2_cut net x dR_dy S : homogeneous net -> closed_downstream net S ->
  (forall j, (j < width net 0)%N -> ~~ S 0%N j) ->
  (forall i, (i < width net (last net).+1)%N -> S (last net).+1 i) ->
  over net (cut S) (synaptic_saliency net x dR_dy)
    = \sum_(i < width net (last net).+1) dR_dy i * output net x i.
Proof.
move=> hom closed no_input outputs; apply: theorem_2 => // p [wide nonzero].
suff count l : (l <= (last net).+1)%N -> crossings (cut S) l p = S l (p l).
  by rewrite count // outputs ?wide.
elim: l => [|l IH] le_l; first by rewrite /crossings big_ord0 (negPf (no_input _ _)) ?wide.
rewrite /crossings big_ord_recr /= -/(crossings _ _ _) IH ?(ltnW le_l) // /cut.
have weight : is_weight net l (p l.+1) (p l) by rewrite /is_weight -ltnS le_l !wide // ltnW.
by have := closed _ _ _ weight (nonzero _ le_l); case: (S l (p l)) => [->|]; rewrite ?andbT.
Qed.

(* Footnote 3 does not suffice for Theorem 2: a network 1-2-2-1 of ones, x = 1 and dR/dy = 1. *)
Theorem theorem_2_footnote : exists net C, homogeneous net /\ footnote_3 net C /\
  over net C (synaptic_saliency net (@ones R) (@ones R))
    <> \sum_(i < width net (last net).+1) ones R i * output net (@ones R) i.
Proof.
pose width := nth 0%N [:: 1; 2; 2; 1]%N.
pose C : masks := fun l i j => nth false [:: i == 0; (i == 1) && (j == 1); j == 0]%N l.
pose net := Mlp width 2 (fun _ _ _ => 1 : R) id (fun _ => 1).
have open p : (forall m, (m < 4)%N -> (p m < width m)%N) -> open_path net 3 p.
  by move=> wide; split=> // m _; apply: oner_neq0.
exists net, C; split; [by move=> z; rewrite /= mul1r | split; [split|]].
- move=> p [wide _]; rewrite /crossings !big_ord_recr big_ord0 /=.
  by move: (wide 1%N isT) (wide 2%N isT); case: (p 1%N) => [|[|]]; case: (p 2%N) => [|[|]].
- move=> l i j /and3P[]; rewrite /C; move: l i j => [|[|[|l]]] [|[|i]] [|[|j]] //= _ _ _ _;
    [exists (fun m => m == 2%N) | exists (fun m => (m == 1%N) || (m == 2%N))
     | exists (fun m => m == 1%N)].
  all: try by [apply: open => -[|[|[|[|m]]]] | rewrite /crossings ?big_ord_recr ?big_ord0 /=].
rewrite /over /= !big_ord_recl !big_ord0 /=.
rewrite /synaptic_saliency /dR_dW /dR_dz /output /preactivations /= !big_ord_recl !big_ord0 /=.
rewrite /ones !(mul1r, mulr1, mul0r, add0r, addr0) -[1]/(1%:R) -!natrD.
by move/eqP; rewrite eqr_nat.
Qed.

End Conservation.
