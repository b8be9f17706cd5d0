namespace Vmm.Profile;

/// <summary>What the runtime counted at one place of a method.</summary>
/// <param name="Kind">What was counted, and in which form: a <c>PgoInstrumentationKind</c> of the runtime.</param>
/// <param name="Offset">The place in the method's IL.</param>
/// <param name="Other">For a jump, the place that it went to; otherwise flags of the runtime.</param>
/// <param name="Values">Numbers, or names of types and methods, as the runtime wrote them, a line each.</param>
internal sealed record Probe(int Kind, int Offset, int Other, IReadOnlyList<string> Values)
{
    private const int FormMask = 0xF;

    /// <summary>The form of the values.</summary>
    public ProbeForm Form => (ProbeForm)(Kind & FormMask);
}
