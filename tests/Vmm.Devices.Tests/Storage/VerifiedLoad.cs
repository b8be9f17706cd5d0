using Vmm.Devices.Simulation;

namespace Vmm.Devices.Tests;

/// <summary>Random reads and writes of a disk, in rounds; everything that is read is compared with what was written before.</summary>
internal sealed class VerifiedLoad
{
    private const int Slots = 16, SectorBytes = 512;

    private readonly SimulatedGuest _guest;
    private readonly Random _random;
    private readonly byte[] _model;
    private readonly List<(DriverRequest Request, byte[]? Expected)> _requests = [];

    internal VerifiedLoad(SimulatedGuest guest, int bytes)
    {
        _guest = guest;
        _model = new byte[bytes];
        int seed = Random.Shared.Next();
        TestContext.Current.TestOutputHelper?.WriteLine($"seed {seed}");
        _random = new Random(seed);
    }

    /// <summary>What the disk has to hold.</summary>
    internal byte[] Model => _model;

    internal bool IsOver => _requests.TrueForAll(each => each.Request.IsUsed);

    /// <summary>Begins a round: a request for each part of the disk.</summary>
    internal void Begin()
    {
        int slotSectors = _model.Length / SectorBytes / Slots;
        for (int slot = 0; slot < Slots; slot++)
        {
            int sectors = _random.Next(1, Math.Min(100, slotSectors)), sector = (slot * slotSectors) + _random.Next(slotSectors - sectors);
            Span<byte> place = _model.AsSpan(sector * SectorBytes, sectors * SectorBytes);
            if (_random.Next(3) == 0)
            {
                _requests.Add((_guest.Queue(0).Read((ulong)sector, sectors), place.ToArray()));
                continue;
            }
            byte[] data = BlockGuest.Pattern(sectors * SectorBytes, _random.Next());
            data.CopyTo(place);
            _requests.Add((_guest.Queue(0).Write((ulong)sector, data), null));
        }
        _guest.Kick(0);
        for (int turns = _random.Next(4); turns > 0; turns--) _guest.Reactor.RunOnce(TimeSpan.Zero);
    }

    /// <summary>Waits for the end of the round, and looks at what came of it.</summary>
    internal void Finish()
    {
        _guest.RunUntil(() => IsOver);
        foreach ((DriverRequest request, byte[]? expected) in _requests)
        {
            Assert.Equal(BlockStatus.Ok, request.Status());
            if (expected is not null) Assert.Equal(expected, request.Data());
            _guest.Queue(0).Free(request);
        }
        _requests.Clear();
    }
}
