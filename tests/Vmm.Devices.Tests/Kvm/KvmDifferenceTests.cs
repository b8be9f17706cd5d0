using System.Text;
using Vmm.Devices.Kvm;
using Vmm.Devices.Native;
using Vmm.Events;
using static Vmm.Devices.Tests.Kvm.KernelCode;

namespace Vmm.Devices.Tests.Kvm;

/// <summary>Machines on real KVM of which only what changed since another snapshot is saved.</summary>
public sealed class KvmDifferenceTests : KvmSavedMachines
{
    private const int Page = 4096;

    private string Second => Path.Combine(_directory, "second");

    private string Third => Path.Combine(_directory, "third");

    [KvmTheory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task What_changed_is_saved_alone_and_a_machine_goes_on_from_the_chain_and_from_what_it_is_merged_to(bool live)
    {
        KvmMachine machine = Boot();
        WriteMarks(machine, seed: 1);
        Start(machine);
        WaitForCount(machine);
        SnapshotResult whole = await machine.SaveAsync(Snapshot, new SnapshotOptions { Live = live }, End);

        WaitForCount(machine);
        Change(machine, seed: 2);
        SnapshotResult difference = await Save(machine, Second, Snapshot, live);
        // The pages that changed, and those of the guest's counter.
        Assert.InRange(difference.BytesWritten, 5 * Page, 16 * Page);
        Assert.InRange(whole.BytesWritten, 300 * Page, 600 * Page);
        machine.Pause();
        Change(machine, seed: 3);
        byte[] content = Content(machine);
        await Save(machine, Third, Second, live);

        MachineSnapshot third = MachineSnapshot.Open(Third);
        Assert.Equal([Second, Snapshot], new[] { third.Base!, third.Base!.Base! }.Select(each => each.Directory));
        third.Verify(cancel: End);
        KvmMachine goesOn = GoOn(Third);
        AssertContent(content, goesOn);
        Start(goesOn);
        WaitForCount(goesOn);

        string merged = Path.Combine(_directory, "merged");
        Assert.InRange(third.Merge(merged, cancel: End), 300 * Page, 600 * Page);
        Assert.Null(MachineSnapshot.Open(merged).Base);
        MachineSnapshot.Open(merged).Verify(cancel: End);
        // It needs the others no more, and stands for the one that it was made of.
        foreach (string gone in (string[])[Snapshot, Second, Third]) Directory.Delete(gone, recursive: true);
        Directory.Move(merged, Third);
        AssertContent(content, GoOn(Third));
        await Save(machine, Second, Third, live);
        AssertContent(content, GoOn(Second));
    }

    [KvmTheory]
    [InlineData(16, 600)]
    [InlineData(1, 7)]
    public async Task Long_runs_and_short_ones_of_pages_are_where_they_were(int first, int count)
    {
        KvmMachine machine = Boot();
        WriteMarks(machine, seed: 1);
        await machine.SaveAsync(Snapshot, cancel: End);
        byte[] bytes = new byte[count * Page];
        new Random(2).NextBytes(bytes);
        Assert.True(machine.Host.Memory.TryWrite((ulong)(Marks + first * Page), bytes));
        Assert.True(machine.Host.Memory.TryWrite(Marks + 700 * Page, bytes.AsSpan(0, Page)));
        byte[] content = Content(machine);
        SnapshotResult saved = await Save(machine, Second, Snapshot);
        Assert.InRange(saved.BytesWritten, (count + 1) * Page, (count + 4) * Page);
        KvmMachine goesOn = GoOn(Second);
        AssertContent(content, goesOn);
        // What is given back reads as zeros, whichever file it came from.
        Assert.True(goesOn.Host.Memory.TryDiscard((ulong)(Marks + first * Page), (ulong)bytes.Length));
        content.AsSpan(Marks + first * Page, bytes.Length).Clear();
        await Save(goesOn, Third, Second);
        AssertContent(content, GoOn(Third));
    }

    [KvmFact]
    public async Task What_a_reset_emptied_is_part_of_a_difference()
    {
        KvmMachine machine = Boot();
        machine.PrepareResets();
        WriteMarks(machine, seed: 1);
        Start(machine);
        WaitForCount(machine);
        await machine.SaveAsync(Snapshot, cancel: End);
        machine.Reset();
        WaitForCount(machine);
        machine.Pause();
        byte[] content = Content(machine);
        Assert.Equal(new byte[Page], content.AsSpan(Marks, Page).ToArray());
        await Save(machine, Second, Snapshot);
        AssertContent(content, GoOn(Second));
    }

    [KvmFact]
    public async Task A_machine_that_goes_on_is_saved_as_a_difference_to_what_it_goes_on_from()
    {
        KvmMachine first = Boot();
        WriteMarks(first, seed: 1);
        Start(first);
        WaitForCount(first);
        await first.SaveAsync(Snapshot, new SnapshotOptions { Stop = true }, End);

        KvmMachine machine = GoOn(Snapshot);
        Start(machine);
        WaitForCount(machine);
        Change(machine, seed: 2);
        Assert.InRange((await Save(machine, Second, Snapshot)).BytesWritten, 5 * Page, 20 * Page);
        WaitForCount(machine);
        machine.Pause();
        Change(machine, seed: 3);
        byte[] content = Content(machine);
        await Save(machine, Third, Second);
        AssertContent(content, GoOn(Third));
        MachineSnapshot.Open(Third).Verify(cancel: End);
    }

    [KvmFact]
    public async Task A_machine_that_goes_on_from_a_snapshot_stands_still_only_while_what_it_wrote_is_saved()
    {
        KvmMachine first = Boot();
        WriteMarks(first, seed: 1);
        Start(first);
        WaitForCount(first);
        await first.SaveAsync(Snapshot, new SnapshotOptions { Stop = true }, End);

        KvmMachine machine = GoOn(Snapshot);
        Change(machine, seed: 2);
        byte[] expected = Content(machine);
        Start(machine);
        bool wentOn = false;
        await machine.SaveAsync(Second, new SnapshotOptions
        {
            Progress = new Progress(_ =>
            {
                uint before = Read(machine);
                wentOn |= SpinWait.SpinUntil(() => Read(machine) != before, TimeSpan.FromMilliseconds(20));
            }),
        }, End);
        Assert.True(wentOn, "the guest stood still while its memory was written");
        MachineSnapshot.Open(Second).Verify(cancel: End);
        byte[] found = Content(GoOn(Second));
        Assert.Equal(expected.AsSpan(Marks), found.AsSpan(Marks));

        // Where what it goes on from is gone, it stands still for all of it, and nothing is lost.
        Directory.Delete(Snapshot, recursive: true);
        await machine.SaveAsync(Third, cancel: End);
        MachineSnapshot.Open(Third).Verify(cancel: End);
        Assert.Equal(expected.AsSpan(Marks), Content(GoOn(Third)).AsSpan(Marks));
    }

    [KvmFact]
    public async Task A_save_that_fails_forgets_nothing_of_what_changed()
    {
        KvmMachine machine = Boot();
        WriteMarks(machine, seed: 1);
        Start(machine);
        await machine.SaveAsync(Snapshot, cancel: End);
        Change(machine, seed: 2);
        using CancellationTokenSource cancel = new();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => machine.SaveAsync(Second,
            new SnapshotOptions { Base = Snapshot, Progress = new Progress(_ => cancel.Cancel()) }, cancel.Token));
        machine.Pause();
        byte[] content = Content(machine);
        await Save(machine, Second, Snapshot);
        AssertContent(content, GoOn(Second));
    }

    [KvmFact]
    public async Task What_a_difference_cannot_be_made_of_is_refused_with_what_to_do()
    {
        KvmMachine machine = Boot(), other = Boot();
        await other.SaveAsync(Snapshot + "-other", cancel: End);
        Assert.Contains("this one was not yet", await Refusal(Second, Snapshot + "-other"));
        await machine.SaveAsync(Snapshot, cancel: End);
        Assert.Contains("a snapshot has the files", await Refusal(Second, _directory));
        Assert.Contains($"it was saved last, to '{Snapshot}'", await Refusal(Second, Snapshot + "-other"));
        Directory.CreateDirectory(Path.Combine(_directory, "elsewhere"));
        Assert.Contains("give both the same parent directory", await Refusal(Path.Combine(_directory, "elsewhere", "second"), Snapshot));
        await machine.SaveAsync(Third, cancel: End);
        Assert.Contains($"it was saved last, to '{Third}'", await Refusal(Second, Snapshot));

        async Task<string> Refusal(string directory, string to) =>
            (await Assert.ThrowsAnyAsync<Exception>(() => Save(machine, directory, to))).Message;
    }

    [KvmFact]
    public async Task A_chain_whose_parts_are_gone_changed_or_of_an_enemy_is_refused_by_name()
    {
        KvmMachine machine = Boot();
        WriteMarks(machine, seed: 1);
        await machine.SaveAsync(Snapshot, cancel: End);
        Change(machine, seed: 2);
        await Save(machine, Second, Snapshot);

        Directory.Move(Snapshot, Third);
        Assert.Contains($"only what changed since '{Snapshot}', which is not there", Refusal());
        await machine.SaveAsync(Snapshot, cancel: End);
        Assert.Contains($"since another snapshot than '{Snapshot}'", Refusal());
        Directory.Delete(Snapshot, recursive: true);
        Directory.Move(Third, Snapshot);
        MachineSnapshot.Open(Second).Verify(cancel: End);

        foreach (string part in (string[])[Snapshot, Second])
        {
            Flip(Path.Combine(part, "memory"), Marks + 100);
            Assert.Contains($"'{part}/memory' is not as it was saved",
                Assert.Throws<StateException>(() => MachineSnapshot.Open(Second).Verify(cancel: End)).Message);
            Assert.Throws<StateException>(() => MachineSnapshot.Open(Second).Merge(Third, cancel: End));
            Assert.False(Path.Exists(Third));
            Flip(Path.Combine(part, "memory"), Marks + 100);
        }

        string file = Path.Combine(Second, "state.json"), good = File.ReadAllText(file);
        string id = MachineSnapshot.Open(Second).Id;
        foreach ((string from, string to, string says) in ((string, string, string)[])
        [
            ("\"base-name\": \"saved\"", "\"base-name\": \"../saved\"", "is not the name of a directory"),
            ("\"base-name\": \"saved\"", "\"base-name\": \"..\"", "is not the name of a directory"),
            ("\"base-name\": \"saved\"", "\"base-name\": \"\"", "is not the name of a directory"),
            ("\"pages\": \"", "\"pages\": \"AAAAAAAA", "pages has"),
            ("\"pages\"", "\"leaves\"", "pages is missing"),
            ("\"base-id\"", "\"base-name?\"", "base-id is missing"),
            // It says that it is a difference to itself.
            ("\"base-name\": \"saved\"", "\"base-name\": \"second\"", "another snapshot than"),
        ])
        {
            Assert.Contains(from, good, StringComparison.Ordinal);
            Write(good.Replace(from, to, StringComparison.Ordinal));
            Assert.Contains(says, Refusal(), StringComparison.Ordinal);
        }
        string own = Convert.ToBase64String(Convert.FromHexString(id)), whole = MachineSnapshot.Open(Snapshot).Id;
        string others = Convert.ToBase64String(Convert.FromHexString(whole));
        Write(good.Replace("\"base-name\": \"saved\"", "\"base-name\": \"second\"", StringComparison.Ordinal)
            .Replace(Escaped(others), Escaped(own), StringComparison.Ordinal));
        Assert.Contains("a chain of more than 64 differences", Refusal());

        string Refusal() => Assert.Throws<StateException>(() => MachineSnapshot.Open(Second)).Message;

        void Write(string state)
        {
            File.WriteAllText(file, state);
            File.WriteAllText(Path.Combine(Second, "state.crc32c"), MachineSnapshot.SumOf(Encoding.UTF8.GetBytes(state)));
        }

        static string Escaped(string base64) => base64.Replace("+", "\\u002B", StringComparison.Ordinal);
    }

    private static void WriteMarks(KvmMachine machine, int seed)
    {
        byte[] marks = new byte[300 * Page];
        new Random(seed).NextBytes(marks);
        Assert.True(machine.Host.Memory.TryWrite(Marks, marks));
    }

    /// <summary>Writes five pages of the marks as a device does, and gives two back.</summary>
    private static void Change(KvmMachine machine, int seed)
    {
        Random random = new(seed);
        byte[] bytes = new byte[100];
        for (int i = 0; i < 5; i++)
        {
            random.NextBytes(bytes);
            Assert.True(machine.Host.Memory.TryWrite((ulong)(Marks + (seed + i * 20) * Page + 50), bytes));
        }
        Assert.True(machine.Host.Memory.TryDiscard((ulong)(Marks + (seed + 200) * Page), 2 * Page));
    }

    private static Task<SnapshotResult> Save(KvmMachine machine, string directory, string to, bool live = true) =>
        machine.SaveAsync(directory, new SnapshotOptions { Base = to, Live = live }, End);

    private static byte[] Content(KvmMachine machine)
    {
        byte[] content = new byte[MemoryBytes];
        Assert.True(machine.Host.Memory.TryRead(0, content));
        return content;
    }

    /// <summary>Compares all of the memory, but for what each machine that goes on has of its own.</summary>
    private static void AssertContent(byte[] expected, KvmMachine machine)
    {
        byte[] found = Content(machine);
        expected.AsSpan((int)BootLayout.GenerationId, BootLayout.GenerationIdBytes).CopyTo(found.AsSpan((int)BootLayout.GenerationId));
        int differs = expected.AsSpan().CommonPrefixLength(found);
        Assert.True(differs == expected.Length, $"another byte at 0x{differs:x}");
    }
}
