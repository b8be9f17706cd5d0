namespace Vmm.Events.Tests.Model;

public enum StepKind { Add, Modify, Remove, Fire, SetPlan, Turn }

/// <summary>What a handler does when it is next called, and from then on.</summary>
public enum Plan { Nothing, Drain, Throw, RemoveSelf, RemoveSelfThenThrow, RemoveOther, AddOther, ModifySelf, ModifyOther, FireSelf, FireOther }

public enum Flavour { Level, Edge, OneShot, None }

/// <summary>
/// One step of a random sequence. Fields that a kind does not need are ignored, so that every combination means something.
/// </summary>
public readonly record struct Step(StepKind Kind, int Source, int Other, Plan Plan, Flavour Flavour, bool Raised)
{
    public override string ToString() => Kind switch
    {
        StepKind.Add => $"add {Source} {Flavour}{(Raised ? " raised" : "")}",
        StepKind.Modify => $"modify {Source} {Flavour}",
        StepKind.SetPlan => $"plan {Source} {Plan} {Other} {Flavour}{(Raised ? " raised" : "")}",
        StepKind.Turn => "turn",
        _ => $"{Kind} {Source}",
    };
}
