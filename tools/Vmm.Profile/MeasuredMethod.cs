using System.Globalization;

namespace Vmm.Profile;

/// <summary>A method that the runtime measured, as its text names it.</summary>
/// <param name="Name">Full name of the type, a dot, name of the method.</param>
/// <param name="Signature">Parameters and result.</param>
/// <param name="ByteCount">Bytes of its IL.</param>
/// <param name="Probes">What was counted, in the order of the text.</param>
internal sealed record MeasuredMethod(string Name, string Signature, int ByteCount, IReadOnlyList<Probe> Probes)
{
    /// <summary>The largest count of the method: how often its most frequent place was passed.</summary>
    public long LargestCount => Probes.Where(probe => probe.Form == ProbeForm.FourByte).SelectMany(probe => probe.Values)
        .Select(value => long.Parse(value, CultureInfo.InvariantCulture)).DefaultIfEmpty().Max();
}
