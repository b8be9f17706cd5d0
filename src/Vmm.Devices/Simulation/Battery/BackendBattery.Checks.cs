using System.Buffers.Binary;

namespace Vmm.Devices.Simulation;

/// <content>The checks.</content>
public sealed partial class BackendBattery
{
    private const int Sectors = (int)(BytesMin / SectorBytes);

    private void ReadsWhatWasWritten()
    {
        using SimulatedGuest guest = Guest();
        foreach ((int sector, int sectors) in ((int, int)[])[(0, 1), (7, 3), (8, 8), (100, 600), (Sectors - 1, 1), (0, Sectors)])
        {
            byte[] data = Pattern(sectors * SectorBytes, sector);
            AwaitOk(guest, Write(guest, sector, data));
            DriverRequest read = Read(guest, sector, sectors);
            AwaitOk(guest, read);
            Same(data, read, $"{sectors} sectors at {sector}");
            if (read.UsedLength != sectors * SectorBytes + 1)
                throw new InvalidDataException($"a read of {sectors} sectors used {read.UsedLength} bytes");
        }
    }

    private void KeepsWhatAModelKeeps()
    {
        using SimulatedGuest guest = Guest(queues: 2);
        Random random = new(Seed);
        byte[] model = Pattern((int)BytesMin, 0);
        AwaitOk(guest, Write(guest, 0, model));
        for (int round = 0; round < 60; round++)
        {
            // Requests of one round lie apart, because their order is not promised.
            List<(DriverRequest Request, byte[]? Expected)> requests = [];
            for (int slot = 0; slot < 16; slot++)
            {
                int sectors = random.Next(1, 100), sector = (slot * 128) + random.Next(128 - sectors), queue = random.Next(2);
                Span<byte> place = model.AsSpan(sector * SectorBytes, sectors * SectorBytes);
                if (random.Next(2) == 0)
                {
                    requests.Add((Read(guest, sector, sectors, queue), place.ToArray()));
                    continue;
                }
                byte[] data = Pattern(sectors * SectorBytes, random.Next());
                data.CopyTo(place);
                requests.Add((Write(guest, sector, data, queue), null));
            }
            AwaitOk(guest, [.. requests.Select(each => each.Request)]);
            foreach ((DriverRequest request, byte[]? expected) in requests)
            {
                if (expected is not null) Same(expected, request, $"a read of round {round}");
                guest.Queue(0).Free(request);
            }
        }
        DriverRequest whole = Read(guest, 0, Sectors);
        AwaitOk(guest, whole);
        Same(model, whole, "all of it");
    }

    private void KeepsSectorsApart()
    {
        using SimulatedGuest guest = Guest();
        byte[] model = Pattern(64 * SectorBytes, 0);
        AwaitOk(guest, Write(guest, 0, model));
        // A driver writes whole blocks; firmware, and a driver that did not look, does not.
        for (int sector = 1; sector < 64; sector += 3)
        {
            byte[] data = Pattern(SectorBytes, sector);
            data.CopyTo(model, sector * SectorBytes);
            AwaitOk(guest, Write(guest, sector, data));
        }
        DriverRequest[] reads = [.. Enumerable.Range(0, 64).Select(sector => Read(guest, sector, 1))];
        AwaitOk(guest, reads);
        for (int sector = 0; sector < 64; sector++)
            Same(model[(sector * SectorBytes)..((sector + 1) * SectorBytes)], reads[sector], $"sector {sector}");
    }

    private void ServesAnyBuffers()
    {
        using SimulatedGuest guest = Guest();
        const ulong Buffers = 48 << 20;
        Random random = new(Seed);
        byte[] model = Pattern((int)BytesMin, 0);
        AwaitOk(guest, Write(guest, 0, model));
        for (int round = 0; round < 40; round++)
        {
            int sectors = random.Next(1, 700), sector = random.Next(Sectors - sectors), bytes = sectors * SectorBytes,
                pieces = random.Next(1, 20);
            bool writes = random.Next(2) == 0;
            Span<byte> place = model.AsSpan(sector * SectorBytes, bytes);
            if (writes) Pattern(bytes, random.Next()).CopyTo(place);
            List<GuestBuffer> data = [];
            ulong at = Buffers;
            for (int left = bytes, i = 0; left > 0; i++)
            {
                int length = i == pieces ? left : Math.Min(left, random.Next(1, 100_000));
                at += (ulong)random.Next(5000);
                data.Add(new GuestBuffer(at, (uint)length));
                guest.Memory.TryWrite(at, place.Slice(bytes - left, length));
                at += (ulong)length;
                left -= length;
            }
            GuestBuffer head = guest.Queue(0).Place(Header(writes
                ? BlockRequestType.Out : BlockRequestType.In, sector)), status = guest.Queue(0).Place([0xff]);
            if (!writes)
            {
                foreach (GuestBuffer buffer in data) guest.Memory.TryWrite(buffer.Address, new byte[buffer.Length]);
            }
            DriverRequest request = writes ? guest.Queue(0).Add([head, .. data], [status]) : guest.Queue(0).Add([head], [.. data, status]);
            AwaitOk(guest, request);
            if (!writes) Same(place.ToArray(), request, $"a read of {sectors} sectors at {sector} into {data.Count} buffers");
        }
        DriverRequest whole = Read(guest, 0, Sectors);
        AwaitOk(guest, whole);
        Same(model, whole, "all of it");
    }

    private void ZeroesWhatItIsAsked()
    {
        using SimulatedGuest guest = Guest();
        byte[] model = Pattern((int)BytesMin, 0);
        AwaitOk(guest, Write(guest, 0, model));
        foreach ((int sector, int sectors, uint flags) in ((int, int, uint)[])[(16, 32, 0), (101, 3, 0), (200, 100, 1), (301, 77, 1),
            (1024, 1024, 0)])
        {
            AwaitOk(guest, Range(guest, BlockRequestType.WriteZeroes, sector, sectors, flags));
            model.AsSpan(sector * SectorBytes, sectors * SectorBytes).Clear();
            DriverRequest whole = Read(guest, 0, Sectors);
            AwaitOk(guest, whole);
            Same(model, whole, $"after zeroes to {sectors} sectors at {sector}");
        }
    }

    private void DiscardsNothingBeside()
    {
        using SimulatedGuest guest = Guest();
        byte[] model = Pattern((int)BytesMin, 0);
        AwaitOk(guest, Write(guest, 0, model));
        foreach ((int sector, int sectors) in ((int, int)[])[(64, 128), (301, 77), (1024, 1024)])
        {
            AwaitOk(guest, Range(guest, BlockRequestType.Discard, sector, sectors));
            DriverRequest before = Read(guest, 0, sector), after = Read(guest, sector + sectors, Math.Max(1, 300 - sectors));
            if (sector + sectors >= Sectors) after = before;
            AwaitOk(guest, before, after);
            // What was discarded before may read as anything.
            if (sector == 64) Same(model[..(sector * SectorBytes)], before, "before what was discarded");
            if (sector == 64)
                Same(model.AsSpan((sector + sectors) * SectorBytes, (300 - sectors) * SectorBytes).ToArray(), after, "behind what "
                    + "was discarded");
        }
        byte[] data = Pattern(128 * SectorBytes, 1);
        AwaitOk(guest, Write(guest, 64, data));
        DriverRequest again = Read(guest, 64, 128);
        AwaitOk(guest, again);
        Same(data, again, "written after a discard");
    }

    private void Flushes()
    {
        const int WritebackOffset = 32;
        using SimulatedGuest guest = Guest();
        byte[] first = Pattern(4096, 1), second = Pattern(4096, 2);
        AwaitOk(guest, Write(guest, 8, first));
        AwaitOk(guest, Flush(guest), Flush(guest));
        guest.Driver.WriteConfig<byte>(WritebackOffset, 0);
        AwaitOk(guest, Write(guest, 16, second));
        AwaitOk(guest, Range(guest, BlockRequestType.WriteZeroes, 24, 8), Range(guest, BlockRequestType.Discard, 32, 8));
        DriverRequest read = Read(guest, 8, 16);
        AwaitOk(guest, read);
        Same([.. first, .. second], read, "after flushes");
    }

    private void RefusesBeyondItsEnd()
    {
        using SimulatedGuest guest = Guest();
        int end = (int)Math.Min(((BlockDevice)guest.Device).Backend.CapacityBytes / SectorBytes, int.MaxValue / 2);
        if (end == int.MaxValue / 2) return;
        DriverRequest[] wrong =
        [
            Read(guest, end, 1), Read(guest, end - 1, 2), Write(guest, end, new byte[SectorBytes]), Range(guest, BlockRequestType.Discard,
                end - 1, 2),
            Range(guest, BlockRequestType.WriteZeroes, end, 1),
        ];
        Await(guest, wrong);
        if (!Array.TrueForAll(wrong, request => (BlockStatus)request.Content[^1] == BlockStatus.IoError))
            throw new InvalidDataException("a request beyond the end was not refused");
        AwaitOk(guest, Read(guest, end - 1, 1), Flush(guest));
    }

    private void AnswersFullRings()
    {
        using SimulatedGuest guest = Guest(queues: 3);
        byte[] data = Pattern(4096, 1);
        for (int round = 0; round < 10; round++)
        {
            List<DriverRequest> requests = [];
            for (int queue = 0; queue < 3; queue++)
            {
                for (int i = 0; i < 80; i++)
                {
                    int sector = ((queue * 80) + i) * 8;
                    requests.Add(round % 2 == 0 ? Write(guest, sector, data, queue) : Read(guest, sector, 8, queue));
                }
            }
            AwaitOk(guest, [.. requests]);
            foreach (DriverRequest request in requests)
            {
                if (round % 2 != 0) Same(data, request, $"round {round}");
                guest.Queue(0).Free(request);
            }
        }
    }

    private void GoesOnAfterResets()
    {
        using SimulatedGuest guest = Guest();
        byte[] data = Pattern(64 * 1024, 1);
        for (int round = 0; round < 20; round++)
        {
            for (int i = 0; i < 16; i++) Write(guest, i * 8, data[(i * 4096)..((i + 1) * 4096)]);
            for (int i = 0; i < 16; i++) Read(guest, i * 8, 8);
            Flush(guest);
            guest.Kick(0);
            guest.Reactor.RunOnce(TimeSpan.Zero);
            guest.Reset().Start();
            DriverRequest read = Read(guest, 0, 8);
            AwaitOk(guest, read);
        }
        AwaitOk(guest, Write(guest, 0, data));
        DriverRequest whole = Read(guest, 0, 128);
        AwaitOk(guest, whole);
        Same(data, whole, "after resets");
    }

    private void GoesOnAfterPauses()
    {
        using SimulatedGuest guest = Guest();
        byte[] data = Pattern(64 * 1024, 1);
        for (int round = 0; round < 10; round++)
        {
            DriverRequest[] writes = [.. Enumerable.Range(0, 16).Select(i => Write(guest, i * 8, data[(i * 4096)..((i + 1) * 4096)]))];
            guest.Kick(0);
            guest.Reactor.RunOnce(TimeSpan.Zero);
            guest.Pause().Resume();
            AwaitOk(guest, writes);
            DriverRequest read = Read(guest, 0, 128);
            AwaitOk(guest, read);
            Same(data, read, $"after pause {round}");
        }
    }

    private void KeepsItsSectors()
    {
        using SimulatedGuest guest = Guest();
        byte[] data = Pattern(8192, 5);
        AwaitOk(guest, Write(guest, 100, data), Flush(guest));
        guest.Reset().Start();
        DriverRequest read = Read(guest, 100, 16);
        AwaitOk(guest, read);
        Same(data, read, "after another driver came");
    }
}
