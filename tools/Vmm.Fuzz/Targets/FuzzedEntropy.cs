using Vmm.Devices;
using Vmm.Devices.Simulation;
using Vmm.Events;

namespace Vmm.Fuzz;

/// <summary>The entropy device, over a source that fails now and then.</summary>
internal sealed class FuzzedEntropy : FuzzedDevice
{
    private readonly Source _source = new();

    internal override IReadOnlyList<BatteryRequest> Proofs { get; } =
        [new(0, [], 100) { Complaint = (content, used) => used == 100 && !content.AsSpan()
            .ContainsAnyExcept(Source.Filling) ? null : $"{used} of 100 bytes" }];

    internal override VirtioDevice Make() => new EntropyDevice("rng0", _source);

    internal override int WriteRequest(FuzzInput input, int queue, Span<byte> request) => input.OneIn(8) ? input.Next(64) : 0;

    internal override void HostActs(FuzzInput input) => _source.Failure = input.Pick<Errno>([Errno.None, Errno.InputOutput, Errno.Again]);

    internal override void HostFinishes() => _source.Failure = Errno.None;

    private sealed class Source : IEntropySource
    {
        internal const byte Filling = 0xa5;

        internal Errno Failure { get; set; }

        public Errno Fill(Span<byte> span)
        {
            BrokenPromiseException.Unless(span.Length <= EntropyDevice.RequestBytesMax, $"{span.Length} bytes asked of the host at once");
            if (Failure == Errno.None) span.Fill(Filling);
            return Failure;
        }
    }
}
